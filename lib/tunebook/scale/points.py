"""A sweep file and the points that it spans: which study each one is, and which stages they share. Runs nothing.

A point is a run of its own, `SWEEP.HASH` under outputs/. The hash is over everything that its stages are made from
(notebook names, parameters, seeds, what lies upstream), so a longer grid, another order or a second sweep of one name
reuses what is there.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import hash_json
from tunebook.pipeline import inputs, notebooks, params, runs
from tunebook.pipeline import stages as stage_names

KEYS = {"study": str, "stages": list, "fixed": dict, "grid": dict, "seeds": int, "split": str, "cpus": int, "gpus": int}
STAGES = ["01", "04@base", "02", "04@sft"]
MOST = 1000  # points; more is a slip of the pen


@dataclass(frozen=True)
class Point:
    """One study of the sweep. `values` are what the grid sets, `seed` is the number of its training, `keys` maps each
    stage to a hash of what it is made from.
    """

    run: str
    values: dict
    seed: int
    study: params.Study
    keys: dict[str, str]

    def label(self) -> str:
        """The values in one line."""
        return ", ".join(f"{key} {value}" for key, value in self.values.items()) or "as the study"


@dataclass(frozen=True)
class Sweep:
    """`points` in the order of the grid, a point's seeds side by side; `judged` is the stage whose task score is
    compared.
    """

    name: str
    path: Path
    study: str
    points: list[Point]
    judged: str
    split: str
    cpus: int
    gpus: int


def read_sweep(text: str, root: Path) -> Sweep:
    """The sweep of a YAML file, or of one in params/sweeps. InputProblem names the key that is wrong."""
    path = next((p for p in (Path(text), root / "params" / "sweeps" / f"{text}.yaml") if p.is_file()), None)
    if path is None:
        names = ", ".join(sorted(p.stem for p in (root / "params" / "sweeps").glob("*.yaml"))) or "nothing yet"
        raise InputProblem(f"no sweep file {text!r}: params/sweeps has {names}")
    content = params.read_yaml(path)
    for key, value in content.items():
        if key not in KEYS:
            raise InputProblem(f"{path}: unknown key {key!r}: a sweep has {', '.join(KEYS)}")
        parts = value if key == "grid" and isinstance(value, list) and value else [value]
        if any(type(part) is not KEYS[key] or (KEYS[key] is int and part < (key != "gpus")) for part in parts):
            wanted = {str: "text", list: "a list", dict: "a mapping `key: value`", int: "a whole number above 0"}
            several = " or a list of them" if key == "grid" else ""
            raise InputProblem(f"{path}: {key} is {value!r}: it must be {wanted[KEYS[key]]}{several}")
    if "study" not in content or not runs.RUN_NAME.fullmatch(path.stem):
        raise InputProblem(f"{path}: write `study: NAME`, a file of params/, in a file whose name is a plain word")
    study, split = _study(content, path, root), content.get("split", "dev")
    points = _points(path, content, study, root)
    scored = [name for name in study.stages if name.startswith("04_") and not name.endswith("@base")]
    if not scored:
        raise InputProblem(f"{path}: no trained model is scored: put 04@sft into `stages`")
    name, hardware = path.stem, (content.get("cpus", 1), content.get("gpus", 0))
    return Sweep(name, path, content["study"], points, scored[-1], split, *hardware)


def _study(content: dict, path: Path, root: Path) -> params.Study:
    """The study that every point changes: its file, then `fixed`. Each point is one training, so `seeds` is taken
    apart.
    """
    near = path.parent / f"{content['study']}.yaml"
    sets = ("seeds=1", f"stages={','.join(map(str, content.get('stages', STAGES)))}")
    is_near = near.is_file() and near.resolve() != path.resolve()
    study = params.load_study(near if is_near else content["study"], sets, root)
    fixed = {"split": content.get("split", "dev"), **content.get("fixed", {})}
    study = _changed(study, fixed, path, root)
    overrides = {name: {k: v for k, v in own.items() if k not in fixed} for name, own in study.overrides.items()}
    return replace(study, name=path.stem, overrides=overrides)


def _changed(study: params.Study, values: dict, path: Path, root: Path) -> params.Study:
    base = params.load_base(root)
    checked = {key: params.checked_value(key, value, base, str(path)) for key, value in values.items()}
    return replace(study, params=study.params | inputs.resolve_paths(checked, root, path.parent, str(path)))


def _points(path: Path, content: dict, study: params.Study, root: Path) -> list[Point]:
    declared = {
        name: notebooks.declared(root / "notebooks" / f"{stage_names.split(name)[0]}.ipynb") for name in study.stages
    }
    seeds, points = content.get("seeds", 1), []
    for values in _combinations(path, content.get("grid", {}), declared):
        changed = _changed(study, values, path, root)
        for seed in range(seeds):
            own = replace(changed, overrides=_with_seeds(changed, seed))
            keys = stage_keys(own, declared)
            points.append(Point(f"{path.stem}.{hash_json(keys)[:8]}", values, seed, own, keys))
    if len(points) > MOST:
        raise InputProblem(f"{path}: {len(points)} points are more than {MOST}: take a smaller grid")
    twice = [point for point, count in Counter(point.run for point in points).items() if count > 1]
    if twice:
        label = next(point.label() for point in points if point.run == twice[0])
        raise InputProblem(f"{path}: two points are the same study ({label}): name each value once")
    return points


def _combinations(path: Path, grid: dict | list[dict], declared: dict[str, dict]) -> Iterator[dict]:
    """Every combination of the values of a grid; of several grids, those of each in turn."""
    for part in grid if isinstance(grid, list) else [grid]:
        for key, values in part.items():
            if not isinstance(values, list) or not values:
                raise InputProblem(f"{path}: grid: {key} is {values!r}: write a list of values")
            if not any(key in names for names in declared.values()):
                raise InputProblem(f"{path}: grid: no notebook of `stages` declares {key!r}: it would do nothing")
        for combination in itertools.product(*part.values()):
            yield dict(zip(part, combination, strict=True))


def _with_seeds(study: params.Study, number: int) -> dict[str, dict]:
    """Overrides that give the training stages another seed."""
    overrides = dict(study.overrides)
    for name in study.stages:
        own = overrides.get(name, {})
        if seed := params.training_seed(study.params | own, name, number):
            overrides[name] = own | seed
    return overrides


def stage_keys(study: params.Study, declared: dict[str, dict]) -> dict[str, str]:
    """A hash a stage of what it is made from: its name, its parameters, and the keys of what it reads."""
    keys: dict[str, str] = {}
    for name in study.stages:
        upstream = [keys[other] for other in stage_names.upstream(name, study.stages)]
        keys[name] = hash_json([name, params.stage_params(study, name, declared[name]), upstream])
    return keys


@dataclass(frozen=True)
class Job:
    """Stages of one point to go through. `siblings` maps a stage to the other runs that have it or will have it;
    `needs` are the jobs that must have ended.
    """

    name: str
    point: Point
    instances: list[str]
    siblings: dict[str, list[str]]
    needs: list[str]


def plan_jobs(points: list[Point]) -> list[Job]:
    """What several points share is made first, by the first of them, and copied by the others: one job for it, and
    then one a point.
    """
    users: dict[str, list[str]] = {}
    for point in points:
        for key in point.keys.values():
            users.setdefault(key, []).append(point.run)
    jobs = []
    for point in points:
        shared = [name for name in point.study.stages if len(users[point.keys[name]]) > 1]
        siblings = {name: [run for run in users[point.keys[name]] if run != point.run] for name in shared}
        first = dict.fromkeys(users[point.keys[name]][0] for name in shared)
        needs = [f"{run} (shared)" for run in first if run != point.run]
        if point.run in first:
            jobs.append(Job(f"{point.run} (shared)", point, shared, siblings, needs))
            needs = [*needs, jobs[-1].name]
        jobs.append(Job(point.run, point, point.study.stages, siblings, needs))
    return jobs
