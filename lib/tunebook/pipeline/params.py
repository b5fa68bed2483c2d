"""Parameters: params/base.yaml and the overlays that extend it, read strictly.

Does not know what a parameter means. A key that base.yaml lacks, a value of another type, a missing base and a circle
of `extends` are errors, because a setting that is silently ignored makes a result that nobody can explain.
"""

import datetime
import json
import math
from dataclasses import dataclass
from pathlib import Path

from tunebook.errors import InputProblem, did_you_mean
from tunebook.pipeline import inputs
from tunebook.pipeline import stages as stage_names
from tunebook.pipeline.runs import find_root

RUNNER_KEYS = ("stages", "cell_timeout_seconds", "seeds")  # never reach a notebook
ROUTING_KEYS = ("run", "target")  # reach a notebook, never change a result
TYPES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list"}


@dataclass(frozen=True)
class Study:
    """A resolved study: `params` are flat values of every base key but `stages`; `overrides` has more values per
    stage instance.
    """

    name: str
    path: Path
    params: dict
    stages: list[str]
    overrides: dict[str, dict]


def load_base(root: Path) -> dict:
    """params/base.yaml: every key that exists, with its default."""
    path = root / "params" / "base.yaml"
    base = read_yaml(path)
    for key, value in base.items():
        items = value if isinstance(value, list) else [value]
        if key == "extends" or not all(isinstance(item, str | bool | int | float) for item in items):
            raise InputProblem(
                f"{path}: {key}: a base value is text, a number, true or false, or a list of these ('' means absent)"
            )
    return base


def load_study(path: str | Path, sets: tuple[str, ...] | list[str] = (), root: Path | None = None) -> Study:
    """Study of a YAML file (or the name of one in params/) with `KEY=VALUE` settings on top.

    InputProblem names the file, the key and the nearest known key.
    """
    root = root or find_root(Path(path).parent if Path(path).is_file() else None)
    path = _find(str(path), Path.cwd(), root)
    base = load_base(root)
    known = stage_names.discover(root)
    overlays = chain(path, root)
    values, overrides = dict(base), {}
    for file, overlay in reversed(overlays):
        for key, value in overlay.items():
            if isinstance(value, dict) and stage_names.looks_like_stage(str(key)):
                instance = _resolve(str(key), known, file)
                section = {k: checked_value(k, v, base, f"{file}: {key}") for k, v in value.items()}
                section = inputs.resolve_paths(section, root, file.parent, f"{file}: {key}")
                overrides[instance] = overrides.get(instance, {}) | section
            else:
                if stage_names.looks_like_stage(str(key)):
                    raise InputProblem(f"{file}: {key} is {value!r}: write its own values as {{key: value}}")
                value = checked_value(key, value, base, str(file), runner_keys=True)
                values |= inputs.resolve_paths({key: value}, root, file.parent, str(file))
    for text in sets:
        key, value = parse_setting(text, base)
        values |= inputs.resolve_paths({key: value}, root, Path.cwd(), f"--set {text}")
    is_narrowed = any(text.partition("=")[0] == "stages" for text in sets)
    run_stages = _resolve_stages(values.pop("stages", []), known, "--set stages" if is_narrowed else path)
    run_stages = stage_names.with_repeats(run_stages, values.get("seeds", 1))
    if is_narrowed:  # a section of a stage that is left out has nothing to say
        overrides = {instance: section for instance, section in overrides.items() if instance in run_stages}
    for instance in overrides:
        if instance not in run_stages:
            raise InputProblem(
                f"{path}: {stage_names.short_name(instance)} has its own values but is not in `stages`: remove one or"
                " add the other"
            )
    return Study(path.stem, path, values, run_stages, overrides)


def _resolve_stages(names: list[str], known: dict[str, str], path: Path | str) -> list[str]:
    if not names:
        raise InputProblem(f'{path}: no stages: write for example stages: ["01", "04@base", "06"]')
    run_stages = [_resolve(name, known, path) for name in names]
    try:
        stage_names.check_order(run_stages)
    except InputProblem as problem:
        raise InputProblem(f"{path}: {problem}") from None
    return run_stages


def _resolve(name: str, known: dict[str, str], path: Path | str) -> str:
    try:
        return stage_names.resolve_stage(name, known)
    except InputProblem as problem:
        raise InputProblem(f"{path}: {problem}") from None


def checked_value(key, value, base: dict, where: str, runner_keys: bool = False):
    """`value` in the type that base declares for `key` (a whole number may stand for a float). InputProblem
    otherwise.
    """
    if not isinstance(key, str):
        raise InputProblem(f'{where}: key {key!r} is not text: quote it, for example "04@sft"')
    allowed = [name for name in base if name not in ROUTING_KEYS and (runner_keys or name not in RUNNER_KEYS)]
    if key not in allowed:
        if key in ROUTING_KEYS:
            raise InputProblem(f'{where}: {key!r} is set by the runner: use --run NAME, and stages like "04@sft"')
        raise InputProblem(f"{where}: unknown key {key!r}: {did_you_mean(key, allowed, 'see params/base.yaml', 0.4)}")
    value = _typed(key, value, base[key], where)
    check(key, value, where)
    return value


def _typed(key: str, value, declared, where: str):
    wanted = type(declared)
    if key in AUTOMATIC and value == "auto":
        return wanted(0)
    if wanted is list and isinstance(value, list):
        item = declared[0] if declared else None
        return [_scalar(key, v, where) if item is None else _typed(key, v, item, where) for v in value]
    if wanted is float and type(value) in (int, float):
        if not math.isfinite(value):
            raise InputProblem(f"{where}: {key} is {value}: a finite number is needed")
        return float(value)
    if type(value) is wanted:
        return value
    remedy = f"base.yaml declares {TYPES[wanted]} (there {declared!r})"
    if value is None:
        remedy += ': write "" for absent' if wanted is str else ": write a value"
    elif wanted is str and isinstance(value, str | bool | int | float | datetime.date):
        remedy += ": put it into quotes"
    raise InputProblem(f"{where}: {key} is {value!r}: {remedy}")


def _scalar(key: str, value, where: str):
    if not isinstance(value, str | bool | int | float):
        raise InputProblem(f"{where}: {key} holds {value!r}: a list holds text, numbers, true or false")
    return value


def parse_setting(text: str, base: dict) -> tuple:
    """`KEY=VALUE` of the command line; the declared type says how to read VALUE, so 2e-4 is a number here."""
    key, equals, raw = text.partition("=")
    where = f"--set {text}"
    if not equals:
        raise InputProblem(f"{where}: write --set KEY=VALUE")
    declared = base.get(key)
    value = raw
    if isinstance(declared, list):
        value = _read_list(raw, declared)
    elif declared is not None:
        value = _read_scalar(raw, declared)
    return key, checked_value(key, value, base, where, runner_keys=True)


def _read_list(raw: str, declared: list) -> list:
    """JSON as it stands, else items between commas, with or without brackets and quotes."""
    try:
        found = json.loads(raw)
        if isinstance(found, list):
            return found
    except (ValueError, RecursionError):
        pass
    items = [item.strip().strip("\"'") for item in raw.strip().strip("[]").split(",") if item.strip()]
    return [_read_scalar(item, declared[0]) if declared else item for item in items]


def _read_scalar(raw: str, declared):
    if isinstance(declared, bool):
        return {"true": True, "false": False}.get(raw.lower(), raw)
    if isinstance(declared, int | float):
        try:
            return type(declared)(raw)
        except ValueError:
            return raw
    return raw


def chain(path: Path, root: Path) -> list[tuple[Path, dict]]:
    """The overlay and those it extends, nearest first, without base.yaml."""
    base_path = (root / "params" / "base.yaml").resolve()
    found: list[tuple[Path, dict]] = []
    while path.resolve() != base_path:
        if path.resolve() in [file.resolve() for file, _ in found]:
            names = " -> ".join(file.name for file, _ in found)
            raise InputProblem(f"{found[0][0]}: extends goes in a circle: {names} -> {path.name}")
        overlay = read_yaml(path)
        parent = overlay.pop("extends", None)
        if not isinstance(parent, str) or not parent:
            raise InputProblem(f"{path}: no base: write `extends: base` as the first line")
        found.append((path, overlay))
        path = _find(parent, path.parent, root, f"{path}: extends: ")
    return found


def _find(text: str, beside: Path, root: Path, where: str = "") -> Path:
    """File of a path or of a bare name: beside the file that names it, else in params/."""
    for folder in (beside, root / "params"):
        for name in (text, f"{text}.yaml"):
            if (folder / name).is_file():
                return folder / name
    names = sorted(p.stem for p in (root / "params").glob("*.yaml"))
    remedy = did_you_mean(Path(text).stem, names, f"params/ has {', '.join(names)}")
    raise InputProblem(f"{where}no parameter file {text!r}: {remedy}")


def stage_params(study: Study, instance: str, declared: dict) -> dict:
    """The values that `instance` gets: exactly the parameters its notebook declares, without the routing keys. A
    further training has the values of the first, and another seed.
    """
    plain, number = instance.partition("+")[0], stage_names.repeat(instance)
    values = study.params | study.overrides.get(plain, {}) | study.overrides.get(instance, {})
    values |= training_seed(values, plain, number)
    missing = [name for name in declared if name not in values and name not in ROUTING_KEYS]
    if missing:
        remedy = did_you_mean(missing[0], values, "add it there", 0.4)
        notebook = stage_names.split(instance)[0]
        raise InputProblem(f"{notebook}.ipynb declares {missing[0]!r}, which params/base.yaml lacks: {remedy}")
    return {name: values[name] for name in declared if name not in ROUTING_KEYS}


def training_seed(values: dict, name: str, number: int) -> dict:
    """`seed` of the further training `number` (1 ...) of a stage with these values; {} for the first one, and for a
    stage that trains nothing: rows, splits and questions stay.
    """
    is_other = number and stage_names.short_name(name) in stage_names.TRAINING
    return {"seed": values.get("seed", 0) + number} if is_other else {}


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML 1.2 file. InputProblem with the line where it is no YAML, sets a key twice or is empty."""
    from ruamel.yaml import YAML, YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise InputProblem(f"{path} cannot be read as text: {problem}") from None
    except YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputProblem(f"{path}{line}: not YAML ({getattr(problem, 'problem', None) or 'syntax'})") from None
    except (ValueError, TypeError) as problem:  # a date or a number that does not exist
        raise InputProblem(f"{path}: not YAML ({str(problem).partition(';')[0]}): put text into quotes") from None
    except RecursionError:
        raise InputProblem(f"{path}: nested too deeply") from None
    if content is None:
        raise InputProblem(f"{path} is empty: write `extends: base` and the keys that change")
    if not isinstance(content, dict):
        raise InputProblem(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    return content


CHOICES = {
    "split": ("test", "dev"),
    "prompt_style": ("chat", "few_shot", "raw"),
    "thinking": ("none", "off", "on"),
    "train_on": ("all", "last"),
    "report_to": ("none", "tensorboard", "trackio"),
    "method": ("lora", "rslora", "dora", "full"),
    "sharding": ("none", "fsdp"),
    "preference": ("dpo", "ipo", "rpo", "kto", "none"),
    "grpo_loss": ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "rloo"),
    "preference_source": ("auto", "own", "sampled", "both"),
    "teacher_keep": ("right", "agreed", "all"),
    "ladder": ("nearest", "instruction", "few_shot", "retrieved", "larger", "hosted"),  # searched: search_share
}
AUTOMATIC = ("lora_rank", "learning_rate")  # where "auto" stands for 0: the notebook finds the value
# whole numbers and numbers that must be above 0
POSITIVE = (
    "seeds batch_size dpo_batch_size lora_alpha max_length max_new_tokens retained_max_new_tokens n_samples"
    " dpo_prompts dpo_samples slots epochs dpo_epochs rehearsal_tokens quantisation_margin recover_points"
    " recover_prompts recover_tokens recover_rows recover_rate general_prompts grpo_prompts grpo_steps grpo_problems"
    " grpo_samples grpo_temperature grpo_rate start_scale sealed_problems sealed_samples sealed_points teacher_samples"
    " hurt_warm_rows hurt_draws hurt_steps"
).split()
# numbers that must not be below 0
NOT_NEGATIVE = (
    "lora_rank learning_rate n_rows n_dev n_test benchmark_limit retained_limit seed few_shot audit_problems"
    " general_documents checkpoints rehearsal_share rehearsal_answers temperature dpo_temperature dpo_learning_rate"
    " dpo_beta watch_points save_seconds warmup_share recover_steps replay_steps recover_problems recover_scales"
    " parity_rows grpo_beta start_range importance_rows served_prompts sensitivity_limit price_machine_hour"
    " price_hosted_input price_hosted_output price_staff_hour staff_hours data_cost cell_timeout_seconds"
    " frontier_lag_months teacher_prompts teacher_temperature teacher_max_tokens search_share cascade_risk"
    " hurt_dev_rows"
).split()
# (above, up to)
SHARES = {
    "top_p": (0.0, 1.0),
    "warmup_share": (-math.inf, 1.0),
    "utilisation": (0.0, 1.0),
    "rehearsal_share": (-math.inf, 10.0),
    "rehearsal_answers": (-math.inf, 1.0),
    "least_agreement": (-math.inf, 1.0),
    "cascade_risk": (-math.inf, 0.5),
}


def check(key: str, value, where: str) -> None:
    """InputProblem where `value` means nothing for `key`."""
    for item in value if isinstance(value, list) else [value]:
        if key in CHOICES and item not in CHOICES[key]:
            raise InputProblem(f"{where}: {key} is {item!r}: choose from {', '.join(CHOICES[key])}")
        if key in NOT_NEGATIVE and item < 0:
            raise InputProblem(f"{where}: {key} is {value}: it must not be negative")
    if key in POSITIVE and not value > 0:
        raise InputProblem(f"{where}: {key} is {value}: it must be above 0")
    low, high = SHARES.get(key, (-math.inf, math.inf))
    if key in SHARES and not low < value <= high:
        above = "" if low < 0 else f"above {low:g} and "
        raise InputProblem(f"{where}: {key} is {value}: it must be {above}at most {high:g}")
