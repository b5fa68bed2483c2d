"""Studies whose truth is known give the right verdict at the stated error rates; the large table is
outputs/bench/verdicts.json.
"""

import importlib.util
from pathlib import Path

import numpy
import pytest

PATH = Path(__file__).parents[2] / "bench" / "bench_verdicts.py"
_spec = importlib.util.spec_from_file_location("bench_verdicts", PATH)
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


@pytest.mark.parametrize("scenario", bench.SCENARIOS, ids=lambda row: row[0])
def test_a_study_of_known_truth_comes_out_as_promised(scenario):
    """25 studies each with a fixed seed: enough to see a rule that is broken, not to measure its rate."""
    name, gain, loss, rise, prompt, promise = scenario
    rng = numpy.random.default_rng(1)
    row = bench.summary(name, [bench.one_study(rng, gain, loss, rise, prompt) for _ in range(25)], promise)
    assert row["holds"], row


def test_a_leaked_benchmark_gives_no_go_ahead():
    rng = numpy.random.default_rng(2)
    assert "GO" not in [bench.leaked_study(rng) for _ in range(2)]


def test_a_small_true_gain_is_found_by_a_large_benchmark_and_a_small_one_names_how_many_problems_settle_it():
    """A base that solves 45%, a true gain of 6 points."""
    small, large, *_ = bench.small_gains(numpy.random.default_rng(3), 6)
    assert small["holds"] and large["holds"] and small["NO-GO"] == large["NO-GO"] == 0
    assert 0 < small["open_with_a_number"] <= 6 and small["named"][0] > 150
    assert small["again"]["GO"] > small["GO"]
