"""Names of stages and which stage reads which. Does not run anything.

A stage instance is a notebook's file name without suffix, plus `@target` where one notebook runs once per model:
`02_train_sft`, `04_evaluate_pass_at_1@sft`. Its short form is `02`, `04@sft`.
"""

import re
from pathlib import Path

from tunebook.errors import InputProblem, did_you_mean

VERDICT = "06"
# Short forms. 00 is no upstream of 01: its gate stops what follows, but changes no row.
UPSTREAM = {
    "00": [],
    "01": [],
    "02": ["01"],
    "03": ["01", "02"],
    "04@base": ["01"],
    "04@sft": ["01", "02"],
    "04@dpo": ["01", "03"],
    "04@gguf": ["01", "05"],
    "05": ["01", "02"],
    "07": [],  # it watches another run, named by a parameter
}
SHORT = re.compile(r"(\d\d)(_\w+)?(@[a-z0-9_]+)?")


def discover(root: Path) -> dict[str, str]:
    """Number -> notebook name for every notebooks/NN_name.ipynb. InputProblem when there is none or a number is
    doubled.
    """
    found: dict[str, str] = {}
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        number = path.stem[:2]
        if number in found:
            raise InputProblem(f"{path}: number {number} is already taken by {found[number]}.ipynb: rename one of them")
        found[number] = path.stem
    if not found:
        raise InputProblem(f"{root / 'notebooks'} has no notebook named like 01_validate_data.ipynb")
    return found


def looks_like_stage(text: str) -> bool:
    """Whether `text` has the form of a stage name, known or not."""
    return SHORT.fullmatch(text) is not None


def resolve_stage(text: str, known: dict[str, str]) -> str:
    """Full instance name of a short or full name. InputProblem names the nearest stage.

    >>> resolve_stage("04@sft", {"04": "04_evaluate_pass_at_1"})
    '04_evaluate_pass_at_1@sft'
    """
    match = SHORT.fullmatch(text)
    if match and match[1] in known and match[2] in (None, known[match[1]][2:]):
        return known[match[1]] + (match[3] or "")
    names = [*known, *known.values()]
    remedy = did_you_mean(text.partition("@")[0], names, f"there are {', '.join(known.values())}", 0.3)
    raise InputProblem(f"no stage {text!r}: {remedy}")


def split(instance: str) -> tuple[str, str]:
    """Notebook name and target; the target is "" where the stage has none."""
    notebook, _, target = instance.partition("@")
    return notebook, target


def short_name(instance: str) -> str:
    """`04_evaluate_pass_at_1@sft` -> `04@sft`."""
    notebook, _, target = instance.partition("@")
    return notebook[:2] + (f"@{target}" if target else "")


def kind(instance: str) -> str:
    """What a reader of the manifest asks for: the notebook's name without its number."""
    return split(instance)[0][3:]


def is_verdict(instance: str) -> bool:
    """The one stage that always runs and writes the verdict."""
    return short_name(instance) == VERDICT


def upstream(instance: str, run_stages: list[str]) -> list[str]:
    """Instances whose outputs `instance` reads, as full names.

    `run_stages` are the full names of the run, in order. The export also reads DPO where the run has it. The verdict
    reads every other stage; a notebook with a later number reads every stage that comes before it, except the verdict.
    InputProblem for an unknown target or an upstream stage that the run does not have.
    """
    by_short = {short_name(name): name for name in run_stages}
    key = short_name(instance)
    if key == VERDICT:
        return [name for name in run_stages if name != instance]
    if key in UPSTREAM:
        wanted = [*UPSTREAM[key], "03"] if key == "05" and "03" in by_short else UPSTREAM[key]
    elif key[:2] > VERDICT:
        earlier = run_stages[: run_stages.index(instance)] if instance in run_stages else run_stages
        return [name for name in earlier if not is_verdict(name)]
    else:
        targets = ", ".join(name for name in UPSTREAM if name.startswith(f"{key[:2]}@"))
        raise InputProblem(
            f"stage {key} is not known: " + (f"write one of {targets}" if targets else "see params/base.yaml")
        )
    missing = [name for name in wanted if name not in by_short]
    if missing:
        raise InputProblem(f"stage {key} reads {missing[0]}, which is not in `stages`: add it before {key}")
    return [by_short[name] for name in wanted]


def check_order(run_stages: list[str]) -> None:
    """InputProblem unless every stage comes once, after what it reads, and the verdict comes last."""
    for position, instance in enumerate(run_stages):
        if instance in run_stages[:position]:
            raise InputProblem(f"stage {short_name(instance)} is twice in `stages`: remove one")
        if is_verdict(instance) and position != len(run_stages) - 1:
            raise InputProblem(f"stage {VERDICT} must be the last in `stages`: it reads all others")
        for name in upstream(instance, run_stages):
            if name not in run_stages[:position]:
                raise InputProblem(
                    f"stage {short_name(instance)} reads {short_name(name)}: put {short_name(name)} before it in"
                    " `stages`"
                )
