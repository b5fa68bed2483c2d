"""Names of stages and which stage reads which. Does not run anything.

A stage instance is a notebook's file name without suffix, plus `@target` where one notebook runs once per model:
`02_train_sft`, `04_evaluate_pass_at_1@sft`. Its short form is `02`, `04@sft`. With `seeds: 3` a study also trains and
scores under other seeds: `02+1`, `04@sft+1` and `02+2`, `04@sft+2` are the same stages of the further trainings, and
so with what follows 02.
"""

import re
from pathlib import Path

from tunebook.errors import InputProblem, did_you_mean

VERDICT = "06"
# The notebook that leaves the adapter of each trained model, in the order in which a run has them.
ADAPTERS = {"sft": "02_train_sft", "dpo": "03_train_dpo", "grpo": "08_train_grpo", "recover": "09_recover"}
# Short forms. 00 is no upstream of 01: its gate stops what follows, but changes no row.
UPSTREAM = {
    "00": [],
    "01": [],
    "02": ["01"],
    "03": ["01", "02"],
    "04@base": ["01"],
    "04@sft": ["01", "02"],
    "04@dpo": ["01", "03"],
    "04@grpo": ["01", "08"],
    "04@recover": ["01", "09"],
    "04@gguf": ["01", "05"],
    "05": ["01", "02"],
    "07": [],  # it watches another run, named by a parameter
    "08": ["01"],  # a foreign adapter needs no other stage
    "09": ["01"],
    "10": ["01"],
    "11": ["01"],
    "12": ["01"],
    "13": ["01"],
}
# What a stage reads besides, where it stands before it in the run.
ALSO = {"02": ("10",), "05": ("03", "08", "09"), "08": ("02",), "09": ("02", "03", "08")}
ALSO["11"] = tuple(name for name in UPSTREAM if name.startswith("04@"))
SHORT = re.compile(r"(\d\d)(_\w+)?(@[a-z0-9_]+)?(\+[1-9]\d*)?")
# their seed is another one in a further training; rows, splits and questions stay
TRAINING = tuple(name[:2] for name in ADAPTERS.values())
SCORED = tuple(f"04@{name}" for name in ADAPTERS)


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
        return known[match[1]] + (match[3] or "") + (match[4] or "")
    names = [*known, *known.values()]
    remedy = did_you_mean(text.partition("@")[0], names, f"there are {', '.join(known.values())}", 0.3)
    raise InputProblem(f"no stage {text!r}: {remedy}")


def split(instance: str) -> tuple[str, str]:
    """Notebook name and target; the target is "" where the stage has none."""
    notebook, _, target = instance.partition("+")[0].partition("@")
    return notebook, target


def repeat(instance: str) -> int:
    """Number of the further training that the stage belongs to, 0 for the study's own.

    >>> repeat("04_evaluate_pass_at_1@sft+2"), repeat("02_train_sft")
    (2, 0)
    """
    return int(instance.partition("+")[2] or 0)


def with_repeats(run_stages: list[str], seeds: int) -> list[str]:
    """The stages with those of the further trainings before the verdict. InputProblem where nothing would be trained
    or scored again.
    """
    short = {short_name(name) for name in run_stages}
    if seeds > 1 and not any({*pair} <= short for pair in zip(TRAINING, SCORED, strict=True)):
        lacks = "`stages` needs a training and the score of its model, such as 02 and 04@sft"
        raise InputProblem(f"seeds: {seeds} trains and scores again, so {lacks}: add them")
    further = [
        f"{name}+{number}"
        for number in range(1, seeds)
        for name in run_stages
        if short_name(name) in (*TRAINING, *SCORED) and f"{name}+{number}" not in run_stages
    ]
    last = [name for name in run_stages if is_verdict(name)]
    return [name for name in run_stages if name not in last] + further + last


def short_name(instance: str) -> str:
    """`04_evaluate_pass_at_1@sft` -> `04@sft`."""
    notebook, target = split(instance)
    number = repeat(instance)
    return notebook[:2] + (f"@{target}" if target else "") + (f"+{number}" if number else "")


def kind(instance: str) -> str:
    """What a reader of the manifest asks for: the notebook's name without its number."""
    return split(instance)[0][3:]


def is_verdict(instance: str) -> bool:
    """The one stage that always runs and writes the verdict."""
    return short_name(instance) == VERDICT


def upstream(instance: str, run_stages: list[str]) -> list[str]:
    """Instances whose outputs `instance` reads, as full names.

    `run_stages` are the full names of the run, in order; those of ALSO are read where they stand before. The verdict
    reads every other stage; a notebook with a later number that has no row reads every stage that comes before it,
    except the verdict. InputProblem for an unknown target or an upstream stage that the run does not have.
    """
    by_short = {short_name(name): name for name in run_stages}
    key, _, number = short_name(instance).partition("+")
    if key == VERDICT:
        return [name for name in run_stages if name != instance]
    if key in UPSTREAM:
        earlier = run_stages[: run_stages.index(instance)] if instance in run_stages else run_stages
        also = [name for name in ALSO.get(key, ()) if by_short.get(name) in earlier]
        wanted = [*UPSTREAM[key], *also]
        if {"08", "09"} & set(also) and "02" not in by_short:  # from a foreign adapter: nothing was trained before
            wanted.remove("02")
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
    return [by_short.get(f"{name}+{number}", by_short[name]) for name in wanted]


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
