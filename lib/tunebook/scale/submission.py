"""`tunebook job`: one study as a submission for another machine, and how its run comes back. Writes text; submits
nothing.
"""

import json
import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import read_csv, read_json
from tunebook.pipeline import inputs, manifest, params, provenance, runs, stages

PLACES = ("hf-jobs", "slurm", "docker", "local")
IMAGE = "python:3.11-bookworm"  # has git and a C++ compiler; --image NAME@sha256:... pins it to the byte
MOST_HOURS = 24 * 14
MARGIN = 1.5  # of a limit that follows from a run here: the other machine is another one
OVERHEAD_MINUTES = 20  # beside the study's own limit: to clone, to install, to bring the run back


@dataclass(frozen=True)
class Request:
    """What the command line asks for. `hours` is the limit after which the machine is given back, 0 takes it from the
    run `like` (the study's own where it is ""); `hardware` is a flavour of HF Jobs or a partition of Slurm; `keep_in`
    is OWNER/NAME of the data set through which a run comes back.
    """

    study: str
    place: str
    hours: float = 0.0
    like: str = ""
    run: str = ""
    sets: tuple[str, ...] = ()
    hardware: str = ""
    image: str = IMAGE
    repository: str = ""
    keep_in: str = ""
    cpus: int = 2
    gpus: int = 0


def render(root: Path, request: Request) -> str:
    """The submission as a shell script. InputProblem where the machine could not make this very run from it: changes
    that are not committed, a file outside the checkout, no repository, a missing time limit.
    """
    study = params.load_study(request.study, request.sets, root)
    run = request.run or study.name
    if not runs.RUN_NAME.fullmatch(run):
        raise InputProblem(f"--run {run!r} is no plain name (letters, digits, '.', '_', '-')")
    hours, limit = request.hours, "named with --hours"
    if not hours:
        hours, limit = hours_like(study, runs.run_folder_to_read(request.like or run, runs.outputs_root(root)))
    if not 0 < hours <= MOST_HOURS:
        raise InputProblem(f"{hours:g} hours ({limit}): a limit is above 0 and at most {MOST_HOURS} hours")
    if request.cpus < 1 or request.gpus < 0:
        raise InputProblem(f"--cpus {request.cpus} --gpus {request.gpus}: at least one core, and no fewer than 0 GPUs")
    if request.place == "hf-jobs":
        _require_hub(request)
    files = _files(root, study)
    commit = _require_committed(root, study, files)
    if request.place == "local":
        repository = request.repository or str(root)
    else:
        repository = request.repository or provenance.git(root, "remote", "get-url", "origin") or ""
    if not repository:
        raise InputProblem("the checkout has no remote `origin`: name with --repository where the machine can clone it")
    gpus = request.gpus or int(request.place == "hf-jobs" and not request.hardware.startswith("cpu"))
    values = {
        "run": run,
        "study": study.path.resolve().relative_to(root.resolve()).as_posix(),
        "commit": commit,
        "repository": repository,
        "minutes": math.ceil(60 * hours),
        "limit": limit,
        "overhead": OVERHEAD_MINUTES,
        "cost": cost_line(study.params, hours + OVERHEAD_MINUTES / 60),
        "torch": _pinned(root, "torch") if gpus else "",
        "gpus": gpus,
        "sets": [_setting(text, root, study, files) for text in request.sets],
    }
    names = ("hardware", "image", "keep_in", "cpus")
    given = {name: getattr(request, name) for name in names}
    return _templates().get_template(f"{request.place}.sh.jinja").render(**values, **given)


def _templates():
    """The templates beside this file: `sh` makes a text one word of the shell, `line` one line, so that a comment ends
    where its line does.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    kind = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined, "keep_trailing_newline": True}
    shell = Environment(loader=FileSystemLoader(Path(__file__).parent), **kind)
    shell.filters["sh"] = lambda text: shlex.quote(str(text))
    shell.filters["line"] = lambda text: " ".join(str(text).split())
    return shell


def hours_like(study: params.Study, folder: Path) -> tuple[float, str]:
    """The limit that follows from a run of this very study here, and why: what its stages took, with 02's training at
    the upper end of its own forecast, times MARGIN. InputProblem where a stage was never finished, or 02 was another.
    """
    seconds, forecast = 0.0, 0.0
    for name in study.stages:
        place = folder / name
        if not (place / manifest.NAME).is_file():
            raise InputProblem(f"{folder.name} has no {name}, whose time the limit needs: name it with --hours")
        record = read_json(place / manifest.NAME)
        plain = name.partition("+")[0]
        own = study.params | study.overrides.get(plain, {})
        own |= params.training_seed(own, plain, stages.repeat(name))
        differing = [key for key, value in record["params"].items() if own.get(key, value) != value]
        other = next((key for key in differing if not key.startswith("price_")), None)
        if other:
            raise InputProblem(
                f"{name} of {folder.name} had {other}: {record['params'][other]!r}, this study has {own[other]!r}: name"
                " the limit with --hours"
            )
        seconds += record["timing"]["seconds"]
        table = place / "tables" / "forecast.csv"
        if stages.short_name(plain) == "02" and table.is_file():
            high = next(60 * float(row["high"]) for row in read_csv(table) if row["what"] == "time")
            seconds += max(0.0, high - record["costs"]["train_seconds"])
            forecast += high / 60
    why = f"{MARGIN:g} times the {math.ceil(seconds / 60)} minutes of run {folder.name}"
    why += f", of which the training by 02's forecast at most {forecast:.0f}" if forecast else ""
    return MARGIN * seconds / 3600, why


def cost_line(values: dict, hours: float) -> str:
    """What the limit costs at the study's price of a machine hour, with its source and date.

    >>> cost_line({"price_machine_hour": 0.4, "price_source": "price list, EUR", "price_date": "2026-11-25"}, 2)
    'At most 2.0 h: 0.80 at 0.4 an hour (price list, EUR, 2026-11-25).'
    """
    price = values.get("price_machine_hour", 0.0)
    if not price:
        return f"At most {hours:.1f} h; no price is given (price_machine_hour, price_source and price_date would)."
    source, date = values.get("price_source"), values.get("price_date")
    if not source or not date:
        raise InputProblem("price_machine_hour has no price_source or no price_date: a price without them is no price")
    return f"At most {hours:.1f} h: {price * hours:.2f} at {price:g} an hour ({source}, {date})."


def _require_hub(request: Request) -> None:
    from huggingface_hub import SpaceHardware

    flavours = [hardware.value for hardware in SpaceHardware]
    if request.hardware not in flavours:
        raise InputProblem(f"--hardware {request.hardware!r} is no flavour of HF Jobs: choose of {', '.join(flavours)}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", request.keep_in):
        raise InputProblem("a job's disk is gone when it ends: name with --keep-in OWNER/NAME the data set for the run")


def _files(root: Path, study: params.Study) -> dict[str, Path]:
    """Every file and folder that the study names, by its text in the study."""
    texts = {text for own in (study.params, *study.overrides.values()) for text in inputs.hashes(own, root)}
    return {text: (root / "notebooks" / Path(text).expanduser()).resolve() for text in sorted(texts)}


def _require_committed(root: Path, study: params.Study, files: dict[str, Path]) -> str:
    """The commit, which must hold the code, the study's file with those that it extends, and every file that it names,
    as they are here.
    """
    about = provenance.commit(root)
    if not about["commit"] or about["dirty"]:
        raise InputProblem(f"{root} has changes that are not committed: commit them, the machine clones the commit")
    if not study.path.resolve().is_relative_to(root.resolve()):
        raise InputProblem(f"{study.path} lies outside the checkout: put it into params/ and commit it")
    for path in (*(file.resolve() for file, _ in params.chain(study.path, root)), *files.values()):
        if not path.is_relative_to(root.resolve()) or not _is_committed(root, path):
            commit = about["commit"][:12]
            raise InputProblem(f"{path} is not in commit {commit} as it is here: commit it, the machine clones that")
    return about["commit"]


def _is_committed(root: Path, path: Path) -> bool:
    """Whether git has the file, or all files of the folder, without a later change: staged, edited, new or ignored."""
    state = provenance.git(root, "status", "--porcelain", "--ignored", "--untracked-files=all", "--", str(path))
    return state == "" and bool(provenance.git(root, "ls-files", "--", str(path)))


def _setting(text: str, root: Path, study: params.Study, files: dict[str, Path]) -> str:
    """A `--set` as the machine reads it in the root of its clone: a file was named from where the person stands."""
    key = text.partition("=")[0]
    value = study.params.get(key) if key in inputs.KEYS else None
    items = value if isinstance(value, list) else [value]
    if not any(item in files for item in items):
        return text
    found = [files[item].relative_to(root.resolve()).as_posix() if item in files else item for item in items]
    return f"{key}={json.dumps(found) if isinstance(value, list) else found[0]}"


def _pinned(root: Path, package: str) -> str:
    return re.search(rf"^{package}==(\S+)", (root / "requirements.txt").read_text(encoding="utf-8"), re.M)[1]
