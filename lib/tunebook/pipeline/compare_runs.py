"""Two manifests of one stage, field by field: what must be equal, and the first field that is not. Reads no files."""

import math

WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".npz")
# Stages without a model: their outputs do not depend on the hardware.
DATA_KINDS = ("validate_data",)
ESTIMATES = ("pass_at_1", "estimate", "value", "mean", "difference")


def first_divergence(recorded: dict, repeated: dict, is_same_hardware: bool) -> str:
    """The first field of `repeated` that contradicts `recorded`, "" when none does.

    Params, notebook and the outputs of data stages must be equal anywhere. On equal hardware so must weights and scores; elsewhere
    weights are not compared, and each score that has an interval must lie within it.
    """
    for field in ("stage", "kind", "params"):
        if recorded[field] != repeated[field]:
            return f"{field}: {_first_key(recorded[field], repeated[field])}"
    if recorded["notebook"]["sha256"] != repeated["notebook"]["sha256"]:
        return "notebook: its source differs"
    if is_same_hardware or recorded["kind"] in DATA_KINDS:
        return _files(recorded["files"], repeated["files"])
    if recorded["status"] != repeated["status"]:
        return f"status: recorded {recorded['status']}, now {repeated['status']}"
    return _scores(recorded["metrics"], repeated["metrics"], "metrics")


def _first_key(recorded, repeated) -> str:
    if not isinstance(recorded, dict):
        return f"recorded {recorded!r}, now {repeated!r}"
    key = next(key for key in sorted(set(recorded) | set(repeated)) if recorded.get(key) != repeated.get(key))
    return f"{key}: recorded {recorded.get(key)!r}, now {repeated.get(key)!r}"


def _files(recorded: list[dict], repeated: list[dict]) -> str:
    """Data files first, then weights: the earlier difference explains the later."""
    now = {entry["path"]: entry for entry in repeated if entry["hashed"]}
    expected = {entry["path"]: entry for entry in recorded if entry["hashed"]}
    for path in sorted(set(now) | set(expected), key=lambda path: (path.endswith(WEIGHTS), path)):
        if path not in now or path not in expected:
            return f"{path}: {'not made now' if path in expected else 'not in the record'}"
        if now[path]["sha256"] != expected[path]["sha256"]:
            kind = "weights" if path.endswith(WEIGHTS) else "data"
            return f"{path} ({kind}): sha256 recorded {expected[path]['sha256'][:12]}, now {now[path]['sha256'][:12]}"
    return ""


def _scores(recorded, repeated, where: str) -> str:
    """Walk two metrics; every object with an `interval` [low, high] has its estimate checked against the recorded one."""
    if isinstance(recorded, list) and isinstance(repeated, list):
        pairs = [(str(index), a, b) for index, (a, b) in enumerate(zip(recorded, repeated, strict=False))]
    elif isinstance(recorded, dict) and isinstance(repeated, dict):
        pairs = [(key, value, repeated.get(key)) for key, value in recorded.items()]
        estimate, interval = _estimate(repeated), recorded.get("interval")
        if interval and estimate is not None and not interval[0] - 1e-9 <= estimate <= interval[1] + 1e-9:
            return (
                f"{where}: {estimate:.4f} now, outside the recorded 95% interval {interval[0]:.4f} to {interval[1]:.4f}"
            )
    else:
        return ""
    return next((found for key, a, b in pairs if (found := _scores(a, b, f"{where}.{key}"))), "")


def _estimate(metrics: dict) -> float | None:
    for key in ESTIMATES:
        value = metrics.get(key)
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    if metrics.get("n") and "k" in metrics:
        return metrics["k"] / metrics["n"]
    return None
