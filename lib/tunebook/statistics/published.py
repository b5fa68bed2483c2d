"""What two published scores can mean when only the percentages are known. Does not read files."""

from tunebook.errors import InputProblem
from tunebook.statistics.compare import GO, INCONCLUSIVE, NO_GO
from tunebook.statistics.intervals import is_a_rate_of
from tunebook.statistics.paired import mcnemar
from tunebook.statistics.power import ALPHA, discordant


def nearest_rates(value: float, n: int) -> str:
    """Whether a published fraction is k/n, and its neighbours, as one sentence.

    >>> nearest_rates(0.305, 164)
    '0.305 is 50/164'
    """
    _require(value, n)
    below = min(n - 1, int(value * n)) if n > 1 else 0
    if is_a_rate_of(value, n):
        return f"{value:g} is {round(value * n)}/{n}"
    return f"{value:g} is not k/{n} for any k: {below}/{n} = {below / n:.3f}, {below + 1}/{n} = {(below + 1) / n:.3f}"


def possible_splits(k_before: int, k_after: int, n: int) -> list[dict]:
    """Every split `gained, lost, n, p_exact` that two scores on the same n problems allow, fewest changes first."""
    if not (0 <= k_before <= n and 0 <= k_after <= n and n >= 1):
        raise InputProblem(f"{k_before} and {k_after} of {n} are no two scores: each lies between 0 and n")
    gain = k_after - k_before
    first, last = max(0, -gain), min(k_before, n - k_after)
    return [
        {"gained": lost + gain, "lost": lost, "n": n, "p_exact": mcnemar(lost + gain, lost)[0]}
        for lost in range(first, last + 1)
    ]


def most_lost_that_shows(rows: list[dict]) -> dict | None:
    """The split with the most lost problems whose exact test is below 0.05; None where no split is."""
    shown = [row for row in rows if row["p_exact"] < ALPHA]
    return shown[-1] if shown else None


def usual_split(k_before: int, k_after: int, n: int, correlation: float) -> dict:
    """The split that the usual correlation of right answers gives, in whole problems."""
    _, lost = discordant(k_before / n, (k_after - k_before) / n, correlation)
    rows = possible_splits(k_before, k_after, n)
    return min(rows, key=lambda row: abs(row["lost"] - lost * n))


def verdict(rows: list[dict], usual: dict) -> str:
    """GO or NO-GO only where the usual split is below 0.05, else INCONCLUSIVE: a word about the published pair, not
    about the model.
    """
    if usual["p_exact"] >= ALPHA or not rows:
        return INCONCLUSIVE
    return GO if usual["gained"] > usual["lost"] else NO_GO


def _require(value: float, n: int) -> None:
    if not 0 <= value <= 1 or n < 1:
        raise InputProblem(f"{value} on {n} problems is no score: write a fraction such as 0.306, and n of 1 or more")
