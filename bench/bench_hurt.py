"""How often `group_effects` says of a group that it hurts or helps where the truth is known.

The difference that a group makes to held-out answer i in draw s is effect + draw + answer + rest + control: draws of
the group's rows differ, held-out answers differ (with heavy tails, Student's t with 3 degrees of freedom), and the
control of a draw is the same for all groups, so that their errors are alike. In every second group draws differ
WIDE times as much. Held-out rows are of all groups in turn. To those of the group that hurts each other
group does FOUL, since they are wrong as its training rows are; what a group truly does is what it does to the others.

- none: no group has an effect; `false_alarm` is the share of simulations in which any of them is said to hurt or help.
- one hurts: three groups help, one hurts, one has no effect: `found` is how often the one that hurts is said to,
  `false_alarm` how often a group is said to do what it does not.
- covered: the share of simulations in which every interval holds its truth, the mean over the rows that judge.
"""

import numpy

from tunebook.statistics.harm import HELPS, HURTS, group_effects

TRIES = 1000
DRAW, ANSWER, REST, CONTROL = 0.3, 1.5, 1.5, 0.2  # standard deviations, nats
CASES = {"none": (0.0,) * 5, "none, 12 groups": (0.0,) * 12}
CASES |= {f"one hurts by {size:g}": (-1.0, -1.0, -1.0, 0.0, size) for size in (0.5, 1.0, 2.0, 3.0)}
WIDE = 3.0
FOUL = 3.0  # nats that right rows add to a wrong answer
SIZES = ((4, 40), (8, 100))  # draws and held-out answers


def measure() -> dict:
    found = {}
    for name, effects in CASES.items():
        for draws, held in SIZES:
            found[f"{name}, {draws} draws, {held} answers"] = _tries(effects, draws, held)
    return found


def _tries(effects: tuple, draws: int, held: int) -> dict:
    rng, counts = numpy.random.default_rng([len(effects), draws, held, int(10 * effects[-1])]), numpy.zeros(3)
    truth = {f"g{n}": effect for n, effect in enumerate(effects)}
    for _ in range(TRIES):
        control = rng.normal(0, CONTROL, (draws, 1))
        tables = {
            name: _table(rng, effect, draws, held, WIDE if n % 2 else 1.0) + control
            for n, (name, effect) in enumerate(truth.items())
        }
        groups = [f"g{n % len(effects)}" for n in range(held)]
        for bad in (name for name, effect in truth.items() if effect > 0):
            for name in truth:
                tables[name][:, [group == bad for group in groups]] += -FOUL if name == bad else FOUL
        rows = group_effects(tables, groups)
        wrong = any(
            (row["verdict"] == HURTS and truth[row["group"]] <= 0)
            or (row["verdict"] == HELPS and truth[row["group"]] >= 0)
            for row in rows
        )
        hurt = next((row for row in rows if truth[row["group"]] > 0), None)
        covered = all(
            row["low"] <= truth[row["group"]] + _foul(row, rows, groups, truth) <= row["high"] for row in rows
        )
        counts += (wrong, bool(hurt) and hurt["verdict"] == HURTS, covered)
    alarm, power, cover = (counts / TRIES).round(3).tolist()
    return {"false_alarm": alarm, **({"found": power} if max(effects) > 0 else {}), "covered": cover}


def _foul(row: dict, rows: list[dict], groups: list[str], truth: dict) -> float:
    """What the wrong held-out rows that judge a group add to its true effect."""
    foul = [r["group"] for r in rows if truth[r["group"]] > 0 and r["verdict"] != HURTS and r["group"] != row["group"]]
    return FOUL * sum(groups.count(name) for name in foul) / row["held"]


def _table(rng, effect: float, draws: int, held: int, wide: float) -> numpy.ndarray:
    answers = rng.standard_t(3, held) * ANSWER / 3**0.5
    rest = rng.standard_t(3, (draws, held)) * REST / 3**0.5
    return effect + rng.normal(0, DRAW * wide, (draws, 1)) + answers + rest
