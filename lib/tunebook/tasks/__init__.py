"""Worked tasks that ship with the kit: rows, benchmark problems, a checker, and what a notebook prints about the task.

Does not split, train or score. A task of your own is a jsonl file with a benchmark file, not a module here.
"""

from types import SimpleNamespace

from tunebook.errors import InputProblem, did_you_mean

NAMES = ("schedule_to_cron", "python_functions", "order_number", "text_to_fields", "facts")


def load(name: str) -> SimpleNamespace:
    """The task: `make_rows`, `make_problems`, `check_answer`, `instruction`, `conventions`, `spec`.

    Raises InputProblem for a name that is not in NAMES.

    >>> load("schedule_to_cron").make_rows(1, seed=1)[0]["completion"][0]["role"]
    'assistant'
    """
    if name not in NAMES:
        known = f"known are {', '.join(NAMES)}"
        raise InputProblem(f"no task is named {name!r}: {did_you_mean(name, NAMES, known, 0.0)} {known}")
    if name == "schedule_to_cron":
        from tunebook.tasks.cron import check, generator, task

        return SimpleNamespace(
            name=name,
            make_rows=generator.make_rows,
            make_problems=generator.make_problems,
            check_answer=check.check_answer,
            instruction=task.INSTRUCTION,
            conventions=task.CONVENTIONS,
            spec=task.SPEC,
        )
    from importlib import import_module

    module = import_module(f"tunebook.tasks.{name}")
    parts = {key: getattr(module, key) for key in ("make_rows", "make_problems", "check_answer")}
    return SimpleNamespace(
        name=name, **parts, instruction=module.INSTRUCTION, conventions=module.SPEC["conventions"], spec=module.SPEC
    )
