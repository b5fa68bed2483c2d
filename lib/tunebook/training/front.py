"""What a model learned against what it forgot, point by point, and which point to go on with. Test is not opened here.

Source for the front: Shenfeld, Pari and Agrawal 2025, RL's Razor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.forgetting import BITS, NOTHING, divergence
from tunebook.evaluation.measure import answer_and_score
from tunebook.evaluation.score_folder import read_scores
from tunebook.models.loading import BaseModel
from tunebook.statistics.compare import NON_INFERIOR, noninferiority, rise
from tunebook.training.checkpoints import Yardstick, kept_row
from tunebook.training.recover import copy_adapter


@dataclass(frozen=True)
class Retentions:
    """What must not be forgotten: the `benchmarks` (name -> Benchmark) that every point answers, which of them and of
    "bits_per_byte" are `gated` (none named: "bits_per_byte"; "nothing": no loss matters), the points that a benchmark
    may lose, the percent more bits that general text may cost, and the share of its gain on the task, in percent, that
    a point must keep.
    """

    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    gated: tuple[str, ...] = ()
    largest_loss: float = 5.0
    largest_bits_rise: float = 10.0
    kept_gain: float = 95.0

    def __post_init__(self):
        there = (BITS, NOTHING, *self.benchmarks)
        odd = next((name for name in self.gated if name not in there), None)
        if odd:
            measured = ", ".join((BITS, *self.benchmarks))
            raise InputProblem(
                f"gated names {odd!r}, which 09 does not measure; there are {measured}: name it in retained, or give"
                ' 09 its own gates, as "09": {gated: ["bits_per_byte"]}'
            )

    def require(self, yardstick: Yardstick) -> None:
        """InputProblem, before anything is trained, where `yardstick` cannot measure what a point is chosen by."""
        if not yardstick.problems:
            raise InputProblem(
                "09_recover chooses on dev, and 01_validate_data left no dev problems: give it rows of dev"
            )
        if not yardstick.general_documents and BITS in (self.gated or (BITS,)):
            raise InputProblem(
                f"general_documents is 0, and {BITS} is gated: let 09 read some, or name other gates for it"
            )


def measure_front(
    base: BaseModel, points: dict[str, Path], yardstick: Yardstick, limits: Retentions, prompts: list[dict], context
) -> list[dict]:
    """A row a point, the first of them base, the second the adapter as it was given (`points` in this order, name ->
    adapter).

    `point`, `k`, `n` on dev; `gain`, percent of the given adapter's gain; `bits_per_byte`, `rise` and `kl` as
    checkpoints have them; `general_kl`, KL(point || base) in nats a token on the general `prompts`; for each benchmark
    its solved problems; `verdicts`, non-inferiority by name. InputProblem where there is no dev part.
    """
    limits.require(yardstick)
    rows, folder = [], context.folder / "front"
    with base.engine() as before:
        first = _measure(before, None, yardstick, limits, folder / "base", context)
        asked = [before.encode(row["prompt"]) for row in prompts]
        for name, adapter in points.items():
            with base.engine(adapter) as engine:
                seen = _measure(engine, before, yardstick, limits, folder / name, context)
                general = divergence(engine, before, asked, yardstick.asking.seed)["nats_per_token"]
            rows.append(_row(name, first, seen, limits) | {"general_kl": general})
    whole = rows[0]["k"] - first["task"]["k"]
    for row in rows:
        row["gain"] = round(100 * (row["k"] - first["task"]["k"]) / whole, 1) if whole > 0 else None
    return [_row("base", first, first, limits) | {"general_kl": 0.0, "gain": 0.0}, *rows]


def _measure(engine, before, yardstick: Yardstick, limits: Retentions, folder: Path, context) -> dict:
    """The metrics on dev, what is kept of general text, and the scores of every benchmark."""
    scores, asking = {}, yardstick.asking
    for name, problems in limits.benchmarks.items():
        answer_and_score(engine, problems, folder / name, context, **asking.fields(name))
        scores[name] = read_scores(folder / name / "score").passed
    kept = yardstick.general_text(engine, before, folder / "forgetting.json")
    return {"task": yardstick.score(engine, folder / "dev", context), "kept": kept, "scores": scores}


def _row(name: str, first: dict, seen: dict, limits: Retentions) -> dict:
    row = {"point": name, "k": seen["task"]["k"], "n": seen["task"]["n"], **kept_row(first["kept"], seen["kept"])}
    verdicts = {}
    for bench, passed in seen["scores"].items():
        found = noninferiority(first["scores"][bench], passed, limits.largest_loss)
        row[bench], verdicts[bench] = f"{found['k_b']}/{found['n'] * found['samples']}", found["verdict"]
    if seen["kept"]:
        bits = [{d["name"]: d["bits"] / d["bytes"] for d in one["kept"]["documents"]} for one in (first, seen)]
        found = rise([(bits[0][text], bits[1][text]) for text in bits[0]], limits.largest_bits_rise)
        verdicts[BITS], row["rise_upper"] = found["verdict"], found["upper"]
    return row | {"verdicts": verdicts}


def choose_point(rows: list[dict], limits: Retentions) -> dict:
    """The point to go on with: of those where every gated retention is non-inferior and the task keeps its share of the
    gain, the one whose general text costs least more, at equal ones the one that solves more.

    `rows` as `measure_front` gives them; each gets `meets`. `point` is "" where there is none, and where the given
    adapter gained nothing on dev; `why` says so.

    >>> rows = [{"point": p, "k": k, "rise": r, "gain": g, "verdicts": {"bits_per_byte": v}} for p, k, r, g, v in (
    ...     ("base", 2, 0.0, 0.0, "non-inferior"), ("given", 22, 30.0, 100.0, "violation"),
    ...     ("scale-0.5", 12, 4.0, 50.0, "non-inferior"), ("distil-40", 21, 3.0, 95.0, "non-inferior"))]
    >>> choose_point(rows, Retentions())["point"]
    'distil-40'
    """
    base, given = rows[:2]
    names = [name for name in limits.gated or (BITS,) if name != NOTHING]
    unmeasured = [name for name in names if name not in base["verdicts"]]
    if unmeasured:
        there = ", ".join(base["verdicts"]) or "none"
        raise InputProblem(f"gated names {unmeasured[0]!r}, which 09 did not measure; there are {there}")
    for row in rows:
        holds = all(row["verdicts"][name] == NON_INFERIOR for name in names)
        row["meets"] = holds and row is not base and (row["gain"] or 0.0) >= limits.kept_gain
    rule = f"non-inferior: {', '.join(names) or 'nothing'}; at least {limits.kept_gain:g}% of the gain on dev kept"
    if given["k"] <= base["k"]:
        return {"point": "", "rule": rule, "why": "the given adapter gains nothing on dev, so there is nothing to keep"}
    meeting = [row for row in rows if row["meets"]]
    if not meeting:
        return {"point": "", "rule": rule, "why": f"none of {len(rows) - 1} points meets it"}
    best = min(meeting, key=lambda row: (row["rise"] or 0.0, -row["k"]))
    return {
        "point": best["point"],
        "rule": rule,
        "why": f"of {len(meeting)} that meet it, nearest to base in general text",
    }


def keep_point(rows: list[dict], points: dict[str, Path], limits: Retentions, context) -> dict:
    """`choose_point`, and the adapter of its point in `adapter/` of the stage; that of "given" where it names none.
    `kept`: the point whose adapter that is.
    """
    choice = choose_point(rows, limits)
    kept = choice["point"] or "given"
    copy_adapter(points[kept], context.folder / "adapter")
    return choice | {"kept": kept}
