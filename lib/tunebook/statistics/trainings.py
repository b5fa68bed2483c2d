"""What another training of the same recipe would do: the interval of a mean over trainings and over problems.

One training gives none of this; that file's own interval is `paired`. Does not read files.
"""

import math
from collections.abc import Sequence

import numpy

from tunebook.errors import InputProblem
from tunebook.statistics.compare import GO, INCONCLUSIVE, NO_GO, decide
from tunebook.statistics.intervals import CONFIDENCE, require_finite

SMALLEST = 1e-15  # p-values below it are given as this


def over_trainings(
    differences: Sequence[Sequence[float]],
    margin: float = 0.0,
    confidence: float = CONFIDENCE,
    spread: tuple[float, int] | None = None,
) -> dict:
    """Mean gain of a recipe from a row of per-problem differences (-1 to 1) for each of two trainings or more.

    Trainings and problems are both draws: d[s, i] = mean + training s + problem i + rest. The variance of the mean is
    MS trainings + max(0, MS problems - MS rest), over trainings * problems; the first part takes Student's quantile
    with trainings - 1 degrees of freedom, the second the normal one, and their half widths add as squares. As in
    `clustered_interval`, half a problem that gains everything, half that loses everything and one unchanged are added,
    so that trainings which agree do not look certain. `spread`: the variance of one training's mean difference and its
    degrees of freedom, where more trainings than these tell them. `difference`, `interval`, `margin` and `sd` (between
    trainings, the problems' noise taken off) are in points, `each` is a training's difference. `verdict` follows
    `decide`; `again` is `verdicts_again`. InputProblem with fewer than two rows or unequal rows.

    >>> result = over_trainings([[1, 1, 0, 1, 1, 0, 1, 1] * 5, [1, 1, 1, 1, 0, 0, 1, 1] * 5])
    >>> result["verdict"], result["trainings"], round(result["difference"]), round(result["sd"])
    ('GO', 2, 75, 0)

    Source: Dorfman, Berbaum and Metz 1992 (the variance: readers and cases there, trainings and problems here); Zou and
    Donner 2008, Construction of confidence limits about effect measures, Statistics in Medicine 27 (half widths as
    squares). Hillis' 2007 single Student quantile is narrower and covers less with two and three trainings
    (bench_trainings).
    """
    from scipy.optimize import bisect
    from scipy.special import ndtri, stdtrit

    table, size, means, centre, squares = _split(differences)
    trainings = len(table)
    per_problem = table.mean(axis=0)
    ms_problems = trainings * (float((per_problem**2).sum()) + 1.0 - size * centre**2) / (size - 1)
    variance, freedom = spread or (float(((means - centre) ** 2).sum()) / (trainings - 1), trainings - 1)
    ms_trainings = size * variance
    ms_rest = squares / ((trainings - 1) * max(1, table.shape[1] - 1))
    parts = [ms / (trainings * size) for ms in (ms_trainings, max(0.0, ms_problems - ms_rest))]

    def half(level: float) -> float:
        """Half the width of the interval at the two-sided `level` of error."""
        student, normal = stdtrit(freedom, 1 - level / 2), ndtri(1 - level / 2)
        return math.sqrt(student**2 * parts[0] + normal**2 * parts[1])

    reach = half(1 - confidence)
    interval = [100 * max(-1.0, centre - reach), 100 * min(1.0, centre + reach)]
    p = 1.0
    if half(SMALLEST) < abs(centre):
        p = SMALLEST
    elif half(1 - SMALLEST) < abs(centre):
        p = bisect(lambda level: half(level) - abs(centre), SMALLEST, 1 - SMALLEST, xtol=SMALLEST)
    return {
        "verdict": decide(centre, interval, p, margin),
        "trainings": trainings,
        "n": table.shape[1],
        "difference": 100 * float(table.mean()),
        "interval": interval,
        "p_exact": p,
        "sd": 100 * math.sqrt(max(0.0, (ms_trainings - ms_rest) / size)),
        "each": [100 * float(row.mean()) for row in table],
        "again": verdicts_again(differences, margin, confidence),
        "margin": margin,
        "rule": f"mean over {trainings} trainings and their problems, {confidence:.0%} interval",
    }


def verdicts_again(differences: Sequence[Sequence[float]], margin: float = 0.0, confidence: float = CONFIDENCE) -> dict:
    """Probability of each verdict that one more training of the recipe would get by itself, on the same problems; and
    `shares`, what part of the variance of one training's gain is due to which problems were asked (`problems`), to the
    training's seed (`trainings`), and to sampling and what is left (`rest`).

    Its difference is predicted by Student's t around the mean of the trainings there are, and gets GO where it lies
    more than the half width of its own interval above the margin. The spread is taken to be no smaller than the rest
    alone makes it, since few trainings may agree by chance. Rows as for `over_trainings`.

    >>> found = verdicts_again([[1, 1, 0, 1] * 20, [0, 0, 1, 0] * 20, [1, 0, 0, 1] * 20])
    >>> round(found["GO"], 1), round(found["NO-GO"], 1)
    (0.8, 0.1)

    Source: prediction interval of a further observation, Hahn and Meeker 1991, Statistical Intervals, section 4.7.
    """
    from scipy.special import ndtri, stdtr

    table, size, means, centre, squares = _split(differences)
    trainings = len(table)
    within = float(((table**2).sum(axis=1) + 1.0 - size * means**2).mean()) / (size - 1)
    of_rest = (squares / (trainings - 1) + 1.0) / (size - 1)
    between = max(float(((means - centre) ** 2).sum()) / (trainings - 1), of_rest / size)
    spread = math.sqrt(between * (1 + 1 / trainings))
    reach = ndtri((1 + confidence) / 2) * math.sqrt(within / size)
    above, below = (float(stdtr(trainings - 1, (sign * (centre - margin / 100) - reach) / spread)) for sign in (1, -1))
    parts = {"problems": max(0.0, within - of_rest) / size, "trainings": between - of_rest / size}
    parts["rest"] = of_rest / size
    total = sum(parts.values())
    shares = {name: round(part / total, 3) for name, part in parts.items()}
    return {GO: above, NO_GO: below, INCONCLUSIVE: max(0.0, 1 - above - below), "shares": shares}


def _split(differences: Sequence[Sequence[float]]) -> tuple[numpy.ndarray, int, numpy.ndarray, float, float]:
    """The table, its problems with the added ones (see `over_trainings`), the mean of each training and of all over
    them, and the sum of squares that neither training nor problem explains.
    """
    table = _table(differences)
    size = table.shape[1] + 2
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return table, size, table.sum(axis=1) / size, float(table.sum() / size / len(table)), float((rest**2).sum())


def _table(differences: Sequence[Sequence[float]]) -> numpy.ndarray:
    if len(differences) < 2 or len({len(row) for row in differences}) != 1 or not len(differences[0]):
        sizes = ", ".join(str(len(row)) for row in differences) or "none"
        raise InputProblem(f"the spread between trainings takes two trainings on the same problems, found {sizes}")
    for row in differences:
        require_finite(row, "the differences of the problems")
    return numpy.asarray(differences, dtype=float)
