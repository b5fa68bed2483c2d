"""At how many calls a day does a fine-tuned model pay, against a hosted one? Costs per call, break-even, and a sweep
without prices.

Prices come from the study's parameters with a date and a source; none is assumed. Does not measure: seconds and tokens
are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy

from tunebook.errors import InputProblem

DAYS_A_MONTH = 365.25 / 12
RESAMPLES = 2000
# Hosted prices that the sweep goes through, per million tokens in the user's currency: from nearly free to very dear.
MACHINE_SWEEP = (0.1, 0.5, 2.5)  # an hour: a small CPU machine, a small GPU, a large one
UNIT_A_MONTH = 100.0
NO_PRICE = "no price given"
SWEEP = tuple(round(10 ** (exponent / 4), 4) for exponent in range(-8, 9))


@dataclass(frozen=True)
class Prices:
    """What the user says that things cost; 0 is "not given". Hours and months are numbers, all money is in one
    currency.
    """

    price_source: str = ""
    price_date: str = ""
    price_machine_hour: float = 0.0
    price_hosted_input: float = 0.0
    price_hosted_output: float = 0.0
    price_staff_hour: float = 0.0
    staff_hours: float = 0.0
    data_cost: float = 0.0
    utilisation: float = 1.0
    retrain_months: float = 0.0
    stable_months: float = 0.0
    frontier_lag_months: float = 0.0

    def given(self) -> list[str]:
        """Names of the prices that were given."""
        return [
            f.name for f in fields(self) if f.name.startswith("price_") and f.type == "float" and getattr(self, f.name)
        ]

    def horizon(self) -> tuple[float, str]:
        """Months for which one training is used, and what ends them: the next training, a task that changes, or a
        prompted model of the same price that has caught up (`frontier_lag_months`); 12 where none was said.

        >>> Prices(retrain_months=12, stable_months=120, frontier_lag_months=6).horizon()
        (6, 'frontier_lag_months')
        """
        names = ("retrain_months", "stable_months", "frontier_lag_months")
        said = [(getattr(self, name), name) for name in names if getattr(self, name)]
        return min(said, key=lambda one: one[0], default=(12.0, "no month was said"))

    def horizon_words(self) -> str:
        """The horizon in one sentence."""
        months, name = self.horizon()
        return f"what a training costs is spread over {months:g} months ({name})"

    def missing(self) -> list[str]:
        """What the user must name for a break-even in money: `data_cost` may stand for the staff."""
        names = ["price_machine_hour", "price_hosted_input", "price_hosted_output"]
        names += [] if self.data_cost else ["price_staff_hour", "staff_hours"]
        return [name for name in names if not getattr(self, name)]


def read_prices(**given) -> Prices:
    """The prices that a study gives. InputProblem where a number is negative, or a price has no source or no date of
    the form 2026-11-25.
    """
    prices = Prices(**given)
    for f in fields(prices):
        value = getattr(prices, f.name)
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise InputProblem(f"{f.name} is {value}: a cost is 0 (not given) or more")
    if not 0 < prices.utilisation <= 1:
        raise InputProblem(f"utilisation is {prices.utilisation}: the busy share of the machine, above 0 and at most 1")
    if prices.given():
        if not prices.price_source.strip():
            raise InputProblem(f"{prices.given()[0]} has no price_source: say where the price stands, prices change")
        if not _is_past_day(prices.price_date):
            raise InputProblem(
                f"price_date is {prices.price_date!r}: write the day on which {prices.given()[0]} was read, as"
                " 2026-11-25"
            )
    return prices


def _is_past_day(text: str) -> bool:
    """Whether this is a day as 2026-11-25, and not after tomorrow (somewhere it is that day already)."""
    try:
        return len(text) == 10 and date.fromisoformat(text) <= date.today() + timedelta(days=1)
    except ValueError:
        return False


def fixed_a_month(prices: Prices, machine_seconds: float) -> float:
    """Money a month that does not depend on the number of calls: what a training costs, spread over the months for
    which it is used (`Prices.horizon`). An advantage that has expired saves nothing, so it pays for nothing.
    """
    return training_cost(prices, machine_seconds) / prices.horizon()[0]


def training_cost(prices: Prices, machine_seconds: float) -> float:
    """Money of one training: staff, data and machine time."""
    machine = machine_seconds / 3600 * prices.price_machine_hour
    return prices.staff_hours * prices.price_staff_hour + prices.data_cost + machine


def machine_cost(seconds: float, price_hour: float) -> str:
    """The machine time of some work in words, with its money where an hour has a price; "" for none.

    >>> machine_cost(5400, 0.4)
    'about 1.5 hours of the machine (0.6 at 0.4 an hour)'
    >>> machine_cost(20, 0.0)
    'about a minute of the machine'
    """
    if not seconds:
        return ""
    time = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{round(seconds / 60)} minutes"
    time = "a minute" if seconds < 90 else time
    money = f" ({seconds / 3600 * price_hour:.2g} at {price_hour:g} an hour)" if price_hour else ""
    return f"about {time} of the machine{money}"


def share_seconds(calls: list[dict], seconds: float) -> None:
    """Gives each call its `seconds` of a batch, by its tokens in and out."""
    tokens = sum(call["output_tokens"] + call["input_tokens"] for call in calls)
    for call in calls:
        call["seconds"] = seconds * (call["output_tokens"] + call["input_tokens"]) / tokens


def whole_seconds(cost: dict, tokens: int) -> float:
    """Seconds of all `tokens` of a batch: what an earlier, killed try had made is not in the clock of `cost`."""
    made = cost["tokens"]
    return cost["seconds"] * tokens / made if cost.get("resumed") and made else cost["seconds"]


def per_call(calls: list[dict], prices: Prices, hosted_calls: Sequence[dict] = ()) -> dict[str, numpy.ndarray]:
    """Money of each sampled call: `own` by its machine seconds and the utilisation, `hosted` by the tokens of
    `hosted_calls`, which a server counted, else of the own calls.

    A call has `input_tokens`, `output_tokens` and `seconds` (machine seconds, already shared among the calls of a
    batch).
    """
    seconds = numpy.array([call["seconds"] for call in calls], dtype=float)
    tokens_in, tokens_out = (
        numpy.array([call[key] for call in hosted_calls or calls], dtype=float)
        for key in ("input_tokens", "output_tokens")
    )
    own = seconds / 3600 * prices.price_machine_hour / prices.utilisation
    hosted = (tokens_in * prices.price_hosted_input + tokens_out * prices.price_hosted_output) / 1e6
    return {"own": own, "hosted": hosted}


def break_even(
    calls: list[dict],
    prices: Prices,
    machine_seconds: float,
    pass_rate: float,
    seed: int = 0,
    hosted_calls: Sequence[dict] = (),
) -> dict:
    """Calls a day from which the own model is cheaper than the hosted one, with a 95% interval from resampling the
    inputs.

    `calls_a_day` None means never (a hosted call costs no more than an own one). `cascade`: the same when the share 1 -
    `pass_rate` of the calls, the failures, goes to the hosted model too, which supposes that a failure is noticed.
    Money in the user's currency. `hosted_calls` of the same problems in the same order are drawn with the own ones.
    """
    if not calls:
        raise InputProblem("no call was sampled, so there is no cost: score the task first")
    costs, fixed = per_call(calls, prices, hosted_calls), fixed_a_month(prices, machine_seconds)
    found = {
        "fixed_a_month": fixed,
        "n_calls": len(calls),
        "missing": prices.missing(),
        "horizon": prices.horizon_words(),
    }
    found |= {f"{name}_per_call": float(values.mean()) for name, values in costs.items()}
    for name, share in (("own", 1.0), ("cascade", pass_rate)):
        found[name] = pays_from(fixed, costs["own"], share * costs["hosted"], seed)
    return found


def pays_from(fixed: float, own: numpy.ndarray, spared: numpy.ndarray, seed: int) -> dict:
    """Calls a day that pay for `fixed` money a month, with the 95% interval over the inputs, where a call costs `own`
    and spares the hosted model's `spared`.
    """
    drawn = [_calls_a_day(fixed, value) for value in resampled(spared, own, seed)]
    return {
        "calls_a_day": _plain(_calls_a_day(fixed, float(spared.mean() - own.mean()))),
        "interval": [_plain(value) for value in numpy.quantile(drawn, [0.025, 0.975], method="nearest")],
    }


def resampled(spared: numpy.ndarray, own: numpy.ndarray, seed: int) -> numpy.ndarray:
    """Mean of `spared` less mean of `own` on RESAMPLES draws of the inputs: the same inputs where both have as many."""
    random = numpy.random.default_rng(seed)
    draws = random.integers(0, len(own), size=(RESAMPLES, len(own)))
    others = draws
    if len(spared) != len(own):
        others = random.integers(0, len(spared), size=(RESAMPLES, len(spared)))
    return spared[others].mean(axis=1) - own[draws].mean(axis=1)


def _calls_a_day(fixed: float, saved: float) -> float:
    return fixed / saved / DAYS_A_MONTH if saved > 0 else math.inf


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def sweep(
    calls: list[dict],
    prices: Prices,
    machine_seconds: float,
    pass_rate: float,
    seed: int = 0,
    hosted_calls: Sequence[dict] = (),
) -> list[dict]:
    """`break_even` at each hosted price of SWEEP (the same for a million tokens in and out): rows for the figure.

    A machine's hour that has no price is swept too (MACHINE_SWEEP), and where nothing fixed was given, the rows are for
    each UNIT_A_MONTH of money a month: no price is assumed.
    """
    rows = []
    for hour in [prices.price_machine_hour] if prices.price_machine_hour else MACHINE_SWEEP:
        for price in SWEEP:
            given = {"price_machine_hour": hour, "price_hosted_input": price, "price_hosted_output": price}
            swept = Prices(**{**vars(prices), **given})
            if not prices.price_staff_hour * prices.staff_hours and not prices.data_cost:
                swept = Prices(**{**vars(swept), "data_cost": UNIT_A_MONTH * prices.horizon()[0]})
            found = break_even(calls, swept, machine_seconds, pass_rate, seed, hosted_calls)
            for kind in ("own", "cascade"):
                low, high = found[kind]["interval"]
                row = {"price": price, "machine_hour": hour, "kind": kind, "calls_a_day": found[kind]["calls_a_day"]}
                rows.append({**row, "low": low, "high": high})
    return rows


def per_correct_answer(calls: list[dict], prices: Prices, pass_rate: float) -> dict:
    """What one right answer takes: machine seconds always, money where the machine's price is given; None when none
    is right.
    """
    seconds = sum(call["seconds"] for call in calls) / len(calls)
    own = float(per_call(calls, prices)["own"].mean())
    return {
        "seconds": seconds / pass_rate if pass_rate else None,
        "money": own / pass_rate if pass_rate and prices.price_machine_hour else None,
        "seconds_per_call": seconds,
        "pass_rate": pass_rate,
    }
