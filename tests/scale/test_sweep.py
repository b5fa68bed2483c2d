"""A sweep computes what its points share once, loses no more than the point whose worker died, and compares honestly."""

import io
import sys

import pytest

from sweep_study import ledger_of, make_root, write_sweep
from tunebook.errors import InputProblem, MachineProblem
from tunebook.files import read_json
from tunebook.pipeline import record
from tunebook.pipeline.verify import verify_run
from tunebook.scale.points import plan_jobs, read_sweep
from tunebook.scale.summary import summarise
from tunebook.scale.sweep import Table, run_sweep


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two rates with two trainings each, by local processes; the first worker at rate 0.9 is killed."""
    root = make_root(tmp_path_factory.mktemp("swept") / "checkout")
    (root / "outputs").mkdir()
    (root / "outputs" / "kill").touch()
    write_sweep(root, "rates", grid={"rate": [0.3, 0.9]}, seeds=2)
    shown = io.StringIO()
    code = run_sweep(root, "rates", is_local=True, stream=shown)
    assert code == 0, shown.getvalue()
    return root, shown.getvalue()


def stages_run(root, since: int = 0) -> list[str]:
    return sorted(text.split("@")[0][:2] + ("b" if "@base" in text or "04@b" in text else "") for entry in ledger_of(root)[since:]
                  if entry["study"] == "rates" for text in entry["ran"] if " pass" in text)  # fmt: skip


def test_what_the_points_share_is_made_once(swept):
    root, _ = swept
    assert stages_run(root) == ["01", "02", "02", "02", "02", "04", "04", "04", "04", "04b"]
    points = read_sweep("rates", root).points
    data = {
        read_json(root / "outputs" / point.run / "01_validate_data" / "manifest.json")["content_hash"]
        for point in points
    }
    assert len(points) == 4 and len(data) == 1
    assert all(verify_run(root / "outputs" / point.run).problems == [] for point in points)


def test_a_killed_worker_loses_its_point_alone_and_is_started_once_more(swept):
    root, shown = swept
    assert (root / "outputs" / "killed").is_file()
    assert shown.count("it is started once more") == 1
    assert [entry["ended"] for entry in ledger_of(root)].count("killed") == 1


def test_the_settings_are_compared_over_trainings_with_holm(swept):
    root, shown = swept
    summary = read_json(root / "outputs" / "rates" / "sweep.json")["summary"]
    assert [row["k"] for row in summary["rows"]] == [[13, 13], [37, 37]]  # 40 x (rate + 0.01 x seed), seeds 1 and 2
    (row,) = summary["comparisons"]
    assert row["difference"] == pytest.approx(60.0) and row["shown"] == "better" and row["p_holm"] < 0.05
    assert "judged on dev" in shown
    names = ("table.csv", "comparisons.csv", "figure.png", "report.html")
    assert all((root / "outputs" / "rates" / name).stat().st_size > 50 for name in names)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_table_names_every_point_and_how_far_it_is(swept):
    root, _ = swept
    screen = Terminal()
    table = Table(read_sweep("rates", root), root / "outputs", screen)
    table.say("a worker was lost")
    table.show()
    table.close()
    lines = screen.getvalue()
    assert "a worker was lost" in lines and "done, 13/40 solved" in lines and "done, 37/40 solved" in lines
    assert all(point.run in lines for point in read_sweep("rates", root).points)


def test_a_second_call_computes_nothing_and_a_longer_grid_only_what_is_new(swept):
    root, _ = swept
    before = len(ledger_of(root))
    write_sweep(root, "rates", grid={"rate": [0.6, 0.3, 0.9]})
    assert run_sweep(root, "rates", is_local=True, stream=io.StringIO()) == 0
    assert stages_run(root, before) == ["02", "04"]


def test_a_point_without_a_score_is_named_and_the_others_are_compared(swept):
    root, _ = swept
    sweep = read_sweep("rates", root)
    outcomes = {point.run: {"problem": ""} for point in sweep.points}
    lost = [point for point in sweep.points if point.values == {"rate": 0.9}]
    outcomes |= {point.run: {"lost": "the machine went away"} for point in lost}
    summary = summarise(sweep, root / "outputs", outcomes)
    assert [row["why"] for row in summary["missing"]] == ["the machine went away"]
    assert all(row["values"] != "rate 0.9" for row in summary["comparisons"])


def test_an_old_score_is_not_that_of_a_point_whose_gate_fails_now(swept):
    """The stage is skipped in run.json, and its manifest of the last time stays where it was."""
    root, _ = swept
    sweep = read_sweep("rates", root)
    point = next(point for point in sweep.points if point.values == {"rate": 0.9})
    folder = root / "outputs" / point.run
    kept = (folder / "run.json").read_bytes()
    record.set_state(folder, sweep.judged, "skipped", message="skipped: 02 failed")
    outcomes = {point.run: {"problem": ""} for point in sweep.points}
    summary, table = summarise(sweep, root / "outputs", outcomes), Table(sweep, root / "outputs", io.StringIO())
    try:
        assert [(row["run"], row["why"]) for row in summary["missing"]] == [(point.run, "skipped: 02 failed")]
        assert table._score(point) == "" and "solved" in table._score(sweep.points[0])
    finally:
        (folder / "run.json").write_bytes(kept)


def test_points_share_only_what_is_made_from_the_same(tmp_path):
    root = make_root(tmp_path / "checkout")
    write_sweep(root, "both", grid={"rows": [5, 6], "rate": [0.3, 0.9]})
    points = read_sweep("both", root).points
    jobs = {job.name: job for job in plan_jobs(points)}
    shared = [name for name in jobs if name.endswith("(shared)")]
    assert len(points) == 4 and len(shared) == 2
    both = ("01_validate_data", "04_evaluate_pass_at_1@base")
    assert jobs[points[1].run].siblings == dict.fromkeys(both, [points[0].run])
    assert jobs[points[3].run].needs == [f"{points[2].run} (shared)"]
    write_sweep(root, "both", grid={"rate": [0.9]})
    assert read_sweep("both", root).points[0].run not in {point.run for point in points}, "rows 7 is another study"


def test_several_grids_are_gone_through_one_after_the_other(tmp_path):
    root = make_root(tmp_path / "checkout")
    write_sweep(root, "unlike", grid=[{"rate": [0.3, 0.9]}, {"rate": [0.5], "rows": [5, 6]}], seeds=2)
    points = read_sweep("unlike", root).points
    values = [{"rate": 0.3}, {"rate": 0.9}, {"rate": 0.5, "rows": 5}, {"rate": 0.5, "rows": 6}]
    assert [point.values for point in points[::2]] == values
    assert len({point.run for point in points}) == 8
    assert points[0].study.params["rows"] == 7 and points[4].study.params["rows"] == 5


@pytest.mark.parametrize(
    "content, sentence",
    [
        ({"grid": [{"rate": [0.3]}, {"rate": [0.3]}]}, "two points are the same study"),
        ({"grid": [{"rate": [0.3]}, {"rates": [0.3]}]}, "declares 'rates'"),
        ({"grid": []}, "grid is .*: it must be a mapping .* or a list of them"),
        ({"grid": ["rate"]}, "grid is .*: it must be a mapping .* or a list of them"),
        ({"gird": {}}, "unknown key 'gird'"),
        ({"grid": {"rates": [1.0]}}, "declares 'rates'"),
        ({"grid": {"rate": 0.3}}, "write a list of values"),
        ({"grid": {"rate": ["high"]}}, "rate is 'high'"),
        ({"grid": {"rate": [0.3, 0.3]}}, "two points are the same study"),
        ({"seeds": 0}, "seeds is 0"),
        ({"stages": ["01", "04@base"]}, "no trained model is scored"),
        ({"gpus": 1}, "--local cannot share GPUs"),
    ],
)
def test_a_wrong_sweep_file_is_one_sentence(tmp_path, content, sentence):
    root = make_root(tmp_path / "checkout")
    write_sweep(root, "wrong", **content)
    with pytest.raises(InputProblem, match=sentence):
        run_sweep(root, "wrong", is_local=True, stream=io.StringIO())
    assert not (root / "outputs").exists()


def test_without_ray_the_sentence_has_the_install_line(tmp_path, monkeypatch):
    root = make_root(tmp_path / "checkout")
    write_sweep(root, "rates", grid={"rate": [0.3]})
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MachineProblem, match="pip install ray==.*--local"):
        run_sweep(root, "rates", stream=io.StringIO())
