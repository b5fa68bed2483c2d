"""What rows of each group add to a training: the change of held-out answers with the group's rows and without, over
draws of these rows and over held-out rows, with intervals that hold for all groups at once.

Numbers are nats of a right answer; above 0 the group makes right answers less likely. Does not train (see
`training.headroom.continued`) and reads no files.
"""

import json
import math
from collections.abc import Sequence

import numpy

from tunebook.errors import InputProblem
from tunebook.statistics.intervals import CONFIDENCE, require_finite

COLUMNS = ("group", "rows", "verdict", "effect", "low", "high", "own", "own_low", "own_high")
COLUMNS += ("draws", "held", "draws_needed", "held_needed", "against", "advice")
HURTS, HELPS, OPEN = "hurts", "helps", "cannot be told"
FEWEST_DRAWS, FEWEST_HELD = 3, 8
MOST_DRAWS, MOST_TIMES = 50, 20  # draws, and times the held-out rows, beyond which more are no remedy


def group_effects(
    by_group: dict[str, Sequence[Sequence[float]]], held_groups: Sequence[str], confidence: float = CONFIDENCE
) -> list[dict]:
    """The groups, the most harmful first. `by_group`: a row of differences, with the group less without it, for each of
    three draws or more; one difference for each held-out row, whose own groups `held_groups` names ("" for none).

    `effect`, `low` and `high` are over held-out rows of the other groups: a wrong source has wrong held-out rows,
    too, which it would make likelier. For the same reason the rows of a group that hurts, the surest first, no
    longer count for the others: right answers make them less likely. `own`, `own_low`, `own_high` are over its own
    ones, None for fewer than FEWEST_HELD. One looks for the worst of G groups, so each interval has the level 1 -
    (1 - confidence) / G, and all of them hold at once (Bonferroni). `verdict`: HURTS where the whole interval is
    above 0, HELPS where it is below, and so whichever one other group's held-out rows are left out, else OPEN.
    `draws_needed`, `held_needed`: what would leave 0 outside, were the effect as estimated (None: more than
    MOST_DRAWS, or MOST_TIMES the rows). InputProblem for unequal or too few draws.

    >>> worse, none = [[0.4, 0.6, 0.5] * 4, [0.6, 0.4, 0.5] * 4, [0.5, 0.5, 0.5] * 4], [[0.1, -0.1, 0.0] * 4] * 3
    >>> [(row["group"], row["verdict"]) for row in group_effects({"none": none, "worse": worse}, [""] * 12)]
    [('worse', 'hurts'), ('none', 'cannot be told')]
    """
    _check(by_group, held_groups)
    tables = {group: numpy.asarray(table, dtype=float) for group, table in by_group.items()}
    level, hurting, judges = (1 - confidence) / len(tables), {}, numpy.array(held_groups, dtype=object)
    while True:
        rows = [_judged(group, tables, judges, level) for group in tables if group not in hurting]
        harmful = [row for row in rows if row["verdict"] == HURTS]
        if not harmful:
            break
        worst = max(harmful, key=lambda row: row["low"] / row["effect"])
        hurting[worst["group"]] = worst
        judges = numpy.where(judges == worst["group"], None, judges)
    for row in [*hurting.values(), *rows]:
        row |= _own(tables[row["group"]], numpy.array([name == row["group"] for name in held_groups]), level)
    return sorted([*hurting.values(), *rows], key=_rank, reverse=True)


def _judged(group: str, tried: dict[str, numpy.ndarray], judges: numpy.ndarray, level: float) -> dict:
    """What a group does to the held-out rows of the `judges`, the groups of these rows (None: counts no more).

    `against`: a tried group without whose rows it would be told otherwise; then it is OPEN, since that one may be
    wrong. Held-out rows of groups that are not tried are taken to be right.
    """
    table, others = tried[group], numpy.array([name is not None and name != group for name in judges])
    found, names = _mean(table[:, others], level), sorted(set(judges[others]))
    verdict, against = _side(found), None
    if verdict == HURTS or verdict == HELPS and len(names) > 1:
        doubted = [name for name in names if name in tried]
        sides = {name: _side(_mean(table[:, others & (judges != name)], level)) for name in doubted}
        against = next((name for name in doubted if sides[name] != verdict), None)
    found = found or dict.fromkeys(("effect", "low", "high", "draws_needed", "held_needed"))
    told = {"verdict": OPEN if against is not None else verdict, "against": against}
    return {"group": group, "draws": len(table), "held": int(others.sum()), **found, **told}


def _side(mean: dict | None) -> str:
    if mean is None or mean["low"] <= 0 <= mean["high"]:
        return OPEN
    return HURTS if mean["low"] > 0 else HELPS


def _own(table: numpy.ndarray, is_own: numpy.ndarray, level: float) -> dict:
    found = _mean(table[:, is_own], level) or {}
    return {"own": found.get("effect"), "own_low": found.get("low"), "own_high": found.get("high")}


def _rank(row: dict) -> float:
    return -math.inf if row["effect"] is None else row["effect"]


def group_advice(effects: Sequence[dict], sizes: dict[str, int], column: str, least: int) -> list[dict]:
    """The rows of `group_effects` with `rows` of each group and `advice`, and behind them the groups of fewer than
    `least` rows, which were not tried: no group is missing.
    """
    small = [name for name in sizes if name not in {row["group"] for row in effects}]
    rows = [row | {"rows": sizes[row["group"]], "advice": _advice(row, column)} for row in effects]
    why = f"keep: not tried, a draw takes {least} rows; more rows, or fewer hurt_steps, would settle it"
    fixed = {"draws": 0, "held": 0, "verdict": OPEN, "advice": why}
    rows += [{"group": name, "rows": sizes[name]} | fixed for name in sorted(small)]
    return [{key: row.get(key) for key in COLUMNS} for row in rows]


def _advice(row: dict, column: str) -> str:
    if row["effect"] is None:
        return f"keep: dev has {row['held']} rows of other groups, {FEWEST_HELD} are needed to tell"
    if row["verdict"] == HURTS:
        name = json.dumps([f"{column}={row['group']}"], ensure_ascii=False)
        said = f"look at its answers, and leave it out: left_out_rows: {name}"
        likes = row["own"] is not None and row["own_high"] < 0
        return said + ("; its own dev rows become likelier: they say otherwise than the rest of dev" if likes else "")
    if row["verdict"] == HELPS:
        return "keep"
    if row["against"] is not None:
        if row["effect"] > 0:
            return f"keep: only with the dev rows of {row['against']} it hurts: look which of the two is right"
        return f"keep: it helps the dev rows of {row['against']}, and is not shown to help the others"
    ways = [f"{row['draws_needed']} draws instead of {row['draws']}"] if row["draws_needed"] else []
    ways += [f"{row['held_needed']} dev rows of other groups instead of {row['held']}"] if row["held_needed"] else []
    if ways:
        return f"keep: nothing shows that it hurts; {' or '.join(ways)} would settle an effect of this size"
    return f"keep: if it has an effect, it is between {row['low']:+.2g} and {row['high']:+.2g} nats"


def settle_lines(rows: Sequence[dict], draw_seconds: float) -> list[str]:
    """For each group that further draws would settle what they cost, in seconds on this machine."""
    lines = [
        f"{row['group']}: hurt_draws: {row['draws_needed']} would settle it, about"
        f" {draw_seconds * (row['draws_needed'] - row['draws']):,.0f} s more"
        for row in rows
        if row["draws_needed"]
    ]
    return lines or ["further draws would settle nothing more"]


def _mean(table: numpy.ndarray, level: float) -> dict | None:
    """Mean of a table of draws by held-out rows with its interval at the two-sided `level` of error; None for too few
    rows.

    Draws and held-out rows are both samples: d[s, i] = mean + draw s + row i + rest. The variance of the mean is
    MS draws + max(0, MS rows - MS rest), over their number; each part takes Student's quantile with its own degrees of
    freedom, and the half widths add as squares, as in `trainings.over_trainings`.
    """
    draws, held = table.shape
    if held < FEWEST_HELD:
        return None
    centre = float(table.mean())
    by_draw, by_row = table.mean(axis=1), table.mean(axis=0)
    rest = table - by_draw[:, None] - by_row + centre
    ms_rest = float((rest**2).sum()) / ((draws - 1) * (held - 1))
    of_draws = float(by_draw.var(ddof=1)) / draws
    of_rows = max(0.0, float(by_row.var(ddof=1)) / held - ms_rest / (draws * held))

    def half(n_draws, n_held):
        """Half the width with so many draws and held-out rows, numbers or arrays."""
        parts = ((of_draws * draws / n_draws, n_draws), (of_rows * held / n_held, n_held))
        return numpy.sqrt(sum(_student(n - 1, level) ** 2 * part for part, n in parts))

    def needed(numbers: numpy.ndarray, widths: numpy.ndarray) -> int | None:
        enough = numbers[widths < abs(centre)]
        return int(enough[0]) if len(enough) else None

    reach, further = float(half(draws, held)), {"draws_needed": None, "held_needed": None}
    if reach >= abs(centre):
        more, rows = (
            numpy.arange(draws + 1, MOST_DRAWS + 1),
            numpy.geomspace(held + 1, MOST_TIMES * held, 60).astype(int),
        )
        further = {"draws_needed": needed(more, half(more, held)), "held_needed": needed(rows, half(draws, rows))}
    return {"effect": centre, "low": centre - reach, "high": centre + reach} | further


def _student(freedom, level: float):
    from scipy.special import stdtrit

    return stdtrit(freedom, 1 - level / 2)


def _check(by_group: dict, held_groups: Sequence[str]) -> None:
    shapes = {(len(table), *{len(row) for row in table}) for table in by_group.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[0] < FEWEST_DRAWS or shape[1] != len(held_groups):
        raise InputProblem(
            f"groups are compared over the same {FEWEST_DRAWS} draws or more and the same {len(held_groups)} held-out"
            f" rows, found {', '.join(f'{name}: {len(table)}' for name, table in by_group.items()) or 'no group'}"
        )
    for name, table in by_group.items():
        for row in table:
            require_finite(row, f"the differences of {name}")
