"""`seeds: 2` trains and scores twice on the same rows, and the verdict knows what another training would do."""

import io

import numpy
import pytest

from sweep_study import make_root
from tunebook.errors import InputProblem
from tunebook.files import read_json
from tunebook.pipeline import params, stages
from tunebook.pipeline.progress import Display
from tunebook.pipeline.study import Request, run_study
from tunebook.pipeline.verify import verify_run
from tunebook.statistics.paired import mcnemar
from tunebook.statistics.trainings import over_trainings, verdicts_again


def run(root, *sets):
    return run_study(root, Request("demo", sets=("seeds=2", *sets), is_complete_enough=True), Display(io.StringIO()))


def manifest(root, stage):
    return read_json(root / "outputs" / "demo" / stage / "manifest.json")


def test_a_further_training_has_its_own_seed_and_its_own_score_on_the_same_rows(tmp_path):
    root = make_root(tmp_path / "checkout")
    assert run(root) == 0
    trained = [manifest(root, name) for name in ("02_train_sft", "02_train_sft+1")]
    scored = [manifest(root, f"04_evaluate_pass_at_1@sft{end}") for end in ("", "+1")]
    assert [found["params"]["seed"] for found in trained + scored] == [1, 2, 1, 1]
    assert [sorted(found["upstream"]) for found in scored] == [
        ["01_validate_data", "02_train_sft"],
        ["01_validate_data", "02_train_sft+1"],
    ]
    data = manifest(root, "01_validate_data")["content_hash"]
    assert {found["upstream"]["01_validate_data"]["content_hash"] for found in trained} == {data}
    assert verify_run(root / "outputs" / "demo").problems == []
    before = [found["timing"]["started_at"] for found in trained + scored]
    assert run(root, "rate=0.5") == 0
    again = ("02_train_sft", "02_train_sft+1", "04_evaluate_pass_at_1@sft", "04_evaluate_pass_at_1@sft+1")
    assert [manifest(root, name)["timing"]["started_at"] for name in again] == before


def test_the_stages_of_a_further_training_stand_before_the_verdict(tmp_path):
    names = ["01_d", "04_e@base", "02_t", "04_e@sft", "05_x", "06_v"]
    expanded = stages.with_repeats(names, 3)
    assert expanded == [*names[:-1], "02_t+1", "04_e@sft+1", "02_t+2", "04_e@sft+2", "06_v"]
    assert stages.with_repeats(expanded, 3) == expanded, "a recorded study lists them already"
    assert stages.upstream("04_e@sft+2", expanded) == ["01_d", "02_t+2"]
    assert stages.upstream("06_v", expanded) == expanded[:-1]
    assert stages.with_repeats(names, 1) == names
    led_back = [*names[:4], "09_r", "04_e@recover", "06_v"]
    expanded = stages.with_repeats(led_back, 2)
    assert expanded[6:] == ["02_t+1", "04_e@sft+1", "09_r+1", "04_e@recover+1", "06_v"]
    assert stages.upstream("09_r+1", expanded) == ["01_d", "02_t+1"]
    assert stages.upstream("04_e@recover+1", expanded) == ["01_d", "09_r+1"]
    root = make_root(tmp_path / "checkout")
    with pytest.raises(InputProblem, match="such as 02 and 04@sft"):
        params.load_study("demo", ("seeds=2", "stages=01,04@base"), root)
    with pytest.raises(InputProblem, match="seeds is 0"):
        params.load_study("demo", ("seeds=0",), root)


def test_trainings_that_differ_widen_the_interval_and_trainings_that_agree_do_not_look_certain():
    alike = over_trainings([[1.0] * 30 + [0.0] * 70] * 3)
    apart = over_trainings([[1.0] * k + [0.0] * (100 - k) for k in (5, 30, 55)])
    assert alike["difference"] == apart["difference"] == pytest.approx(30.0)
    assert alike["verdict"] == "GO" and alike["sd"] < 1e-6 and alike["interval"][1] - alike["interval"][0] > 15
    assert apart["verdict"] == "INCONCLUSIVE" and apart["sd"] == pytest.approx(25.0, abs=1.5)
    assert apart["interval"][0] < 0 < apart["p_exact"] - 0.05
    assert over_trainings([[0.0] * 40] * 2)["p_exact"] == 1.0
    worse = over_trainings([[-value for value in row] for row in ([1.0] * 30 + [0.0] * 70,) * 3])
    assert worse["verdict"] == "NO-GO" and worse["interval"][1] == pytest.approx(-alike["interval"][0])


def test_what_one_more_training_would_get_is_told_as_often_as_it_comes():
    """Recipes that gain between -10 and 20 points, trained three times and once more."""
    rng = numpy.random.default_rng(5)
    told, got = [], []
    for _ in range(400):
        own, seeds = rng.normal(rng.normal(-0.9, 0.4), 1.5, 200), rng.normal(0, 0.2, (4, 1))
        after = rng.random((4, 200)) < 1 / (1 + numpy.exp(-own - seeds))
        table = after.astype(float) - (rng.random(200) < 0.3)
        told.append(verdicts_again(table[:3].tolist())["GO"])
        gained, lost = int((table[3] > 0).sum()), int((table[3] < 0).sum())
        got.append(gained > lost and mcnemar(gained, lost)[0] < 0.05)
    told, got = numpy.array(told), numpy.array(got)
    for low, high in ((0, 0.15), (0.3, 0.7), (0.85, 1)):
        inside = (told >= low) & (told <= high)
        assert inside.sum() > 20 and abs(told[inside].mean() - got[inside].mean()) < 0.15, (low, high)


def test_the_p_value_and_the_interval_agree():
    for k in range(2, 30):
        result = over_trainings([[1.0] * k + [-1.0] * 6 + [0.0] * (94 - k), [1.0] * (k + 1) + [0.0] * (99 - k)])
        assert (result["p_exact"] < 0.05) == (result["interval"][0] > 0), k


@pytest.mark.parametrize("rows", [[], [[1.0]], [[1.0], [1.0, 0.0]], [[], []], [[float("nan")], [1.0]]])
def test_one_training_or_other_problems_are_refused(rows):
    with pytest.raises(InputProblem):
        over_trainings(rows)
