"""report.html is one safe page: verdict first, model text escaped, no script, links that lead to files of the run."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from mini_study import VERDICT, VERDICT_PARAMETERS, make_root, write_notebook
from mini_study import run as run_study
from tunebook.cli import main
from tunebook.decision.gather import Evidence
from tunebook.decision.hinges import hinges
from tunebook.decision.page import FIGURES, remake, render, visible
from tunebook.decision.report import balance, side_by_side
from tunebook.decision.verdict import decide
from tunebook.errors import IntegrityProblem
from tunebook.evaluation.score_folder import Scores
from tunebook.pipeline.record import report_problem

SPEC = {"smallest_gain": 0.0, "largest_loss": 5.0, "largest_bits_rise": 10.0, "gated": [], "target_score": 90.0}
HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\x1b[31m\u202e"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags and links, and fails on a tag that is not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name == "href"]
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def scores(k: int, n: int = 60) -> Scores:
    passed = {str(at): [at < k] for at in range(n)}
    metrics = {"k": k, "n": n, "pass_at_1": k / n, "interval": [0.0, 1.0]}
    return Scores("", passed, {"benchmark_sha256": "x"}, metrics)


def report(base: int = 2, tuned: int = 50, **changes) -> dict:
    evidence = Evidence({"base": {"task": scores(base)}, "sft": {"task": scores(tuned)}}, "task", SPEC | changes)
    outcome = decide(evidence, "sft")
    problems = [{"task_id": str(at), "prompt": HOSTILE, "canonical_solution": "a", "slice": "one"} for at in range(60)]
    texts = [{"task_id": str(at), "completion": HOSTILE} for at in range(60)]
    cpu = {"model": "a CPU", "cores": 2}
    return {
        "run": "demo", **outcome, "meaning": "m", "balance": balance(outcome), "note": "n", "override": "",
        "sources": {"gain": "04_evaluate_pass_at_1@sft/scores/task/metrics.json"},
        "hinges": hinges(outcome, [], SPEC), "scores": [], "ladder": [], "ladder_costs": [], "kept": [],
        "checkpoints": [],
        "answers": side_by_side(outcome["gains"][0], problems, texts, texts), "gates": [], "economics": {},
        "spec": {"input": HOSTILE}, "spec_sha256": "f" * 64, "frozen_before_training": True, "stages": [],
        "ledger": {"opened_before": 4, "runs_of_this_study": 4},
        "environment": {"cpu": cpu, "python": "3.11", "commit": "c" * 40, "dirty": False},
    }  # fmt: skip


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    assert page.open == []
    return page


def test_model_text_is_shown_and_never_run(tmp_path):
    """A completion is written by a model: on this page it is text, whatever it contains."""
    text = render(report(), tmp_path, [])
    page = parsed(text)
    assert not {"script", "iframe", "object", "form", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in text and "\x1b" not in text and "\u202e" not in text


def test_the_page_needs_nothing_from_anywhere(tmp_path):
    text = render(report(), tmp_path, [])
    assert not re.search(r"(?:src|href)=\"?(?:https?:)?//|@import|url\(", text)
    assert 'name="viewport"' in text and "@media print" in text


def test_the_verdict_comes_first_then_evidence_then_record(tmp_path):
    text = render(report(), tmp_path, [])
    places = [
        text.index(part) for part in ("<h1>GO</h1>", "<h2>Why", "What would change", "<h2>Evidence", "<h2>Record")
    ]
    assert places == sorted(places)


def test_the_page_says_what_each_training_did_beside_the_verdict(tmp_path):
    """A study of 08 was a NO-GO for what SFT forgot, and only a row of the record said what reinforcement did."""
    row = {"phase": "modelling", "gate": "it helps", "verdict": "INCONCLUSIVE", "evidence": HOSTILE, "rule": "r"}
    gates = [row | {"source": "08_train_grpo/manifest.json"}, row | {"gate": "of 00", "source": "spec.json"}]
    text = render(report() | {"gates": gates}, tmp_path, [])
    part = text[text.index("What each step did") : text.index("What would change")]
    assert "it helps" in part and "of 00" not in part and "<script>" not in part
    assert "What each step did" not in render(report(), tmp_path, [])


def test_every_link_stays_inside_the_run(tmp_path):
    links = parsed(render(report(), tmp_path, [])).links
    assert "04_evaluate_pass_at_1@sft/scores/task/metrics.json" in links
    assert [link for link in links if link.startswith(("/", "..")) or ":" in link] == []


def test_a_study_that_was_run_often_says_so_beside_its_p_value(tmp_path):
    text = render(report(), tmp_path, [])
    assert re.search(r"opened this test split: <a [^>]*>4</a>", text) and "p-value supposes one look" in text


def test_a_figure_is_inside_the_page_and_a_missing_one_is_left_out(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    text = render(report() | {"run": "x"}, tmp_path, [("a.png", "one"), ("b.png", "two")])
    assert "scores" not in text or "b.png" not in text
    for path in FIGURES:  # the front of 09 was read from the run, and had no place on the page
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"\x89PNG")
        page = parsed(render(report() | {"economics": {}}, tmp_path, [(path, "a caption")]))
        assert "img" in [tag for tag, _ in page.tags], path
    assert visible(None) == "" and visible(True) == "yes" and visible("\x1b\u202e") == "\\x1b\\x202e"


def test_what_would_change_a_go_is_the_number_of_problems_it_hangs_on():
    outcome = decide(Evidence({"base": {"task": scores(0)}, "sft": {"task": scores(10)}}, "task", SPEC), "sft")
    first = hinges(outcome, [], SPEC)[0]
    assert first["number"] == "5" and "10 gained" in first["meaning"]  # 5 gained, 0 lost: p = 0.0625


def test_what_would_change_an_open_verdict_is_how_much_was_missing():
    evidence = Evidence({"base": {"task": scores(0)}, "sft": {"task": scores(4)}}, "task", SPEC)
    first = hinges(decide(evidence, "sft"), [], SPEC)[0]
    assert first["number"] == "2" and "more gained" in first["meaning"]  # 6 gained, 0 lost: p = 0.031


@pytest.mark.parametrize(("base", "tuned"), [(0, 0), (60, 60), (60, 0), (0, 60), (30, 30)])
def test_extreme_scores_make_a_page_too(tmp_path, base, tuned):
    parsed(render(report(base, tuned), tmp_path, []))


def test_the_page_of_a_run_without_a_verdict_shows_what_is_there_and_names_what_is_not(tmp_path, capsys, monkeypatch):
    """A closed tab, or a study that stopped before 06, left numbers and figures that nobody could see together."""
    root = make_root(tmp_path / "checkout")
    monkeypatch.setenv("TUNEBOOK_ROOT", str(root))
    monkeypatch.chdir(root)
    run_study(root, only="01")
    run_study(root, only="04@base")
    folder = root / "outputs" / "demo"
    assert main(["report", "demo"]) == 0
    assert "missing: 06_verdict is pending: run its notebook" in capsys.readouterr().out
    text = (folder / "report.html").read_text()
    page = parsed(text)
    assert "No verdict" in text and "2 of 3 stages" in text and "n_rows" in text
    assert all((folder / unquote(link)).is_file() for link in page.links), page.links
    table = folder / "04_evaluate_pass_at_1@base" / "tables" / "scores.csv"
    assert "<caption>scores</caption>" in text
    table.write_text("task_id,passed\na,False\n")
    assert main(["report", "demo"]) == 0
    shown = capsys.readouterr().out
    assert "04_evaluate_pass_at_1@base/tables/scores.csv: " in shown, "a changed file is named"
    assert "<caption>scores</caption>" not in (folder / "report.html").read_text(), "and is not shown"


def test_the_verdicts_page_is_made_anew_and_never_from_a_changed_report(tmp_path):
    root = make_root(tmp_path / "checkout")
    kept = 'context.save("report.json", ' + repr(report()) + ")"
    write_notebook(root, "06_verdict", VERDICT_PARAMETERS, [*VERDICT[:2], kept, VERDICT[2]])
    run_study(root)
    folder = root / "outputs" / "demo"
    assert remake(folder) == [] and parsed((folder / "report.html").read_text())
    assert report_problem(folder) == "", "the new page is the recorded one"
    place = folder / "06_verdict" / "report.json"
    before = (folder / "report.html").read_text()
    place.write_text(place.read_text().replace("INCONCLUSIVE", "GO"))
    with pytest.raises(IntegrityProblem, match="report.json.*run 06_verdict again"):
        remake(folder)
    assert (folder / "report.html").read_text() == before
