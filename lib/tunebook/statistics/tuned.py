"""Methods compared at their own best setting, where the choice of the setting earns nothing. Does not read runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy

from tunebook.errors import InputProblem
from tunebook.statistics.intervals import CONFIDENCE
from tunebook.statistics.paired import holm
from tunebook.statistics.power import ALPHA
from tunebook.statistics.trainings import over_trainings

FOLDS = 2  # parts of the problems


def own_best(trainings: Sequence[dict]) -> dict[str, dict]:
    """Each method at its own best setting. `trainings` have `method`, `setting` (a number), `seed`, `passed` (a 1 or 0
    for each problem, in one order) and `rise`, what was forgotten.

    What a training of a seed scores on one half of the problems counts for the setting that solved most in the *other*
    seeds on the *other* half, the smaller one at a tie: so neither a lucky training nor problems that suit a setting
    are counted twice. `passed` is a row a seed, `rise` a value a seed, `settings` counts how often each was chosen, and
    `at_edge` says that most choices are the smallest or the largest setting. InputProblem where seeds are fewer than
    two or not those of every setting, or problems are not the same.

    Source: cross-validation, Stone 1974; why it is needed: Cawley and Talbot 2010, On over-fitting in model selection.
    """
    found = {}
    for method in dict.fromkeys(row["method"] for row in trainings):
        table, rises, settings = _tables([row for row in trainings if row["method"] == method], method)
        seeds, problems = table.shape[1:]
        fold = numpy.arange(problems) % FOLDS
        passed, rise, chosen = numpy.empty((seeds, problems)), numpy.zeros(seeds), []
        for seed in range(seeds):
            others = numpy.delete(table, seed, axis=1).sum(axis=1)
            for part in range(FOLDS):
                best = int(others[:, fold != part].sum(axis=1).argmax())
                passed[seed, fold == part] = table[best, seed, fold == part]
                rise[seed] += rises[best, seed] / FOLDS
                chosen.append(settings[best])
        ends = sum(setting in (settings[0], settings[-1]) for setting in chosen)
        counts = {setting: chosen.count(setting) for setting in settings}
        found[method] = {"passed": passed, "rise": rise, "settings": counts, "at_edge": 2 * ends > len(chosen)}
    if len({one["passed"].shape for one in found.values()}) > 1:
        raise InputProblem("the methods have other seeds or problems: train and score all of them alike")
    return found


def _tables(rows: list[dict], method: str) -> tuple[numpy.ndarray, numpy.ndarray, list]:
    """What passed, by setting, seed and problem; what was forgotten, by setting and seed; the settings."""
    settings, seeds = (sorted({row[key] for row in rows}) for key in ("setting", "seed"))
    by = {(row["setting"], row["seed"]): row for row in rows}
    if any(row.get("rise") is None for row in rows):
        raise InputProblem(f"{method}: what it forgot was not measured: set general_documents, and score 04@base too")
    whole = len(seeds) > 1 and len(by) == len(rows) == len(settings) * len(seeds)
    if not whole or len({len(row["passed"]) for row in rows}) > 1:
        raise InputProblem(f"{method}: every setting needs one training of each of two seeds or more, on all problems")
    passed = [[list(by[setting, seed]["passed"]) for seed in seeds] for setting in settings]
    rises = [[by[setting, seed]["rise"] for seed in seeds] for setting in settings]
    return numpy.array(passed, dtype=float), numpy.array(rises, dtype=float), settings


def against(best: dict[str, dict], reference: str) -> list[dict]:
    """Every other method of `own_best` less the reference, seed by seed: what it `learned` (points, over trainings and
    problems) and what it `forgot` (the unit of `rise`, over trainings, on these very texts).

    The intervals are for the settings that were chosen; that other trainings may choose others is not in them. The
    spread between trainings is that of all methods together, taken to be alike in them, seeds as blocks: with two
    methods this is the paired t-test. `difference`, `interval` (95%), `p_exact`, `p_holm` over all rows, and `shown`:
    "more", "less" or "".

    Source: Fisher 1935, The design of experiments, chapter 4 (randomised blocks).
    """
    if len(best) < 2 or reference not in best:
        raise InputProblem(f"{reference} and another method are compared, found {', '.join(best) or 'none'}")
    rows, first = [], best[reference]
    of_passed = _spread([own["passed"].mean(axis=1) for own in best.values()])
    of_rise = _spread([own["rise"] for own in best.values()])
    for method in (name for name in best if name != reference):
        learned = over_trainings((best[method]["passed"] - first["passed"]).tolist(), spread=of_passed)
        forgot = _mean_over(best[method]["rise"] - first["rise"], *of_rise)
        for what, result in (("learned", learned), ("forgot", forgot)):
            kept = {key: result[key] for key in ("difference", "interval", "p_exact")}
            rows.append({"method": method, "against": reference, "what": what, **kept})
    for row, p in zip(rows, holm([row["p_exact"] for row in rows]), strict=True):
        row["p_holm"], row["shown"] = p, "" if p >= ALPHA else "more" if row["difference"] > 0 else "less"
    return rows


def _spread(values: Sequence[numpy.ndarray]) -> tuple[float, int]:
    """Variance of the difference of two trainings of one seed, from what neither method nor seed explains in `values`
    (a row a method, a column a seed), and its degrees of freedom.
    """
    table = numpy.array(values)
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (len(table) - 1) * (table.shape[1] - 1)
    return 2 * float((rest**2).sum()) / freedom, freedom


def _mean_over(differences: numpy.ndarray, variance: float, freedom: int) -> dict:
    """Mean of a difference a seed with this variance, by Student's t."""
    from scipy.special import stdtr, stdtrit

    mean, error = float(differences.mean()), math.sqrt(variance / len(differences))
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    p = 2 * float(stdtr(freedom, -abs(mean) / error)) if error else float(mean == 0)
    return {"difference": mean, "interval": [mean - half, mean + half], "p_exact": p}
