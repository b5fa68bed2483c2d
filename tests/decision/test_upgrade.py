"""Something has changed since a run shipped: what ships is kept, trained again or retired by evidence, under the old
frozen text, and the old run stays as it is.
"""

import functools
import importlib
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunebook import cli, decision, tasks
from tunebook.decision import economics
from tunebook.decision.upgrade import answer as rules
from tunebook.decision.upgrade import changes, options
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.protocol import Protocol
from tunebook.evaluation.score import score
from tunebook.evaluation.score_folder import Scores
from tunebook.files import hash_json, read_json, sha256_file, write_json, write_jsonl
from tunebook.pipeline import provenance, study
from tunebook.pipeline.context import Context
from tunebook.pipeline.verify import verify_run

score_module = importlib.import_module("tunebook.evaluation.score")
ROOT = Path(__file__).parents[2]
N = 60
PROBLEMS = [
    {"task_id": f"t/{at:02}", "prompt": f"say {at}", "entry_point": "check", "canonical_solution": str(at), "kind": "answer",
     "test": f"def check(answer):\n    assert answer == '{at}'\n"}
    for at in range(N)
]  # fmt: skip
BENCH = from_problems("task", [dict(problem) for problem in PROBLEMS])
# How many of the problems each model solves: by few_shot, as it is, and trained.
SOLVED = {"old": (2, 1, 30), "weak": (3, 2, 31), "same": (30, 1, 30), "better": (48, 9, 50), "enough": (60, 9, 60)}
SOLVED |= {"rich": (3, 2, 55)}
HOSTED = {"first": 5, "as-good": 32}
PRICES = {
    "price_source": "a page, EUR",
    "price_date": "2026-11-01",
    "price_machine_hour": 0.36,
    "price_hosted_input": 1.0,
}
PRICES |= {"price_hosted_output": 1.0, "price_staff_hour": 60.0, "staff_hours": 2.0, "calls_per_day": 5000.0}
SHIPS = {"model": "old", "model_revision": "1", "n_test": N, "retained": [], "hosted_url": "http://127.0.0.1:1/v1"}
SHIPS |= {"hosted_model": "first", "retrain_months": 12.0, "search_share": 0.0, "ladder": ["few_shot"]}


def write_score(context: Context, place: str, k: int, **fields) -> dict:
    """A judged score of `k` of the problems, the same ones for all that solve as many."""
    answers = [{"task_id": p["task_id"], "completion": str(at) if at < k else "no"} for at, p in enumerate(PROBLEMS)]
    protocol = Protocol(BENCH.sha256, benchmark="task", chat_template_sha256=context.params.get("model", ""), **fields)
    return score(BENCH, answers, context.folder / place, protocol, allow_unisolated=True)


def stage_00(context: Context) -> dict:
    spec = decision.spec_from(context.params, tasks.load("schedule_to_cron"), BENCH, context.overrides())
    decision.freeze_for_run(spec, context)
    names = [field for field in economics.Prices.__dataclass_fields__]
    write_json(context.folder / "prices.json", {name: context.params[name] for name in names})
    given = {"few_shot": SOLVED[context.params["model"]][0] if context.params["ladder"] else None}
    given["hosted"] = HOSTED[context.params["hosted_model"]] if context.params["hosted_url"] else None
    rungs = []
    for rung, k in given.items():
        if k is not None:
            found = write_score(context, f"ladder/{rung}/score", k, prompt_style="few_shot")
            rungs.append(decision.rung_row(rung, found, context.params["target_score"]))
    calls = [{"input_tokens": 100, "output_tokens": 100} for _ in PROBLEMS]
    write_jsonl(context.folder / "ladder" / "hosted" / "calls.jsonl", calls if given["hosted"] is not None else [])
    if given["hosted"] is None:
        (context.folder / "ladder" / "hosted" / "calls.jsonl").unlink()
    return {"rungs": rungs}


def stage_04(context: Context) -> dict:
    k = SOLVED[context.params["model"]][2 if context.target == "sft" else 1]
    found = write_score(context, "scores/task", k)
    write_jsonl(context.folder / "calls.jsonl", [{"input_tokens": 100, "output_tokens": 100} for _ in PROBLEMS])
    return {"scores": {"task": found}}


def stage_06(context: Context) -> dict:
    sft = context.needs()["04_evaluate_pass_at_1@sft"].metrics["scores"]["task"]
    return {"verdict": "GO" if sft["k"] >= 30 else "INCONCLUSIVE", "shipped": "sft", "reasons": []}


def execute(job, on_tick) -> dict:
    """The runner's `execute` without a model: each stage leaves the files of its notebook, judged and recorded as there."""
    values = {name: value for name, value in job.params.items() if name not in ("run", "target")}
    stages = read_json(job.run_folder / "run.json")["study"]["stages"]
    context = Context(job.root, job.run_folder, job.instance, stages, values)
    make = {"00": stage_00, "04": stage_04, "06": stage_06}.get(job.instance[:2], lambda context: {})
    if "model" in values:
        context.external(values["model"], "", hash_json(values["model"]))
    costs = {"task": {"seconds": 3.6, "tokens": 100, "resumed": 0}} if job.instance.startswith("04") else None
    context.finish(make(context), costs=costs, unhashed=("prices.json",))
    (context.folder / "executed.ipynb").write_text("{}")
    return {"outcome": "ok"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """One run that shipped, `old`, in an outputs folder of its own."""
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEBOOK_OUTPUTS", str(folder))
        patch.setenv("TUNEBOOK_ROOT", str(ROOT))
        patch.setattr(study, "execute", execute)
        patch.setattr(provenance, "packages", functools.cache(provenance.packages))  # else 0.2 s a stage
        checked = score_module.check_runner(BENCH, score_module.Judging(allow_unisolated=True))  # else 1 s a score
        patch.setattr(score_module, "check_runner", lambda *_: checked)
        patch.setattr(changes, "resolve_model", lambda name, *_, **__: SimpleNamespace(sha256=hash_json(name)))
        given = SHIPS | PRICES | {"stages": ["00", "01", "04@base", "02", "04@sft", "06"]}
        sets = [
            f"--set={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items()
        ]
        assert cli.main(["run", "quickstart", "--run", "old", *sets]) == 0
        yield folder


def tree(folder: Path) -> dict:
    return {path: sha256_file(path) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def upgrade(outputs, capsys, *arguments: str, name: str = "new") -> tuple[int, dict, str]:
    before = tree(outputs / "old")
    code = cli.main(["upgrade", "old", "--name", name, *arguments])
    shown = capsys.readouterr()
    assert tree(outputs / "old") == before
    report = outputs / name / "upgrade.json"
    return code, json.loads(report.read_text()) if report.is_file() else {}, shown.out + shown.err


def test_new_prices_generate_nothing_and_the_advantage_expires(outputs, capsys):
    """By hand: a call takes 0.06 s at 0.36 an hour = 6e-6; 200 hosted tokens cost 2e-5 now, a training 120. Over 6 months
    of 30.4375 days it pays from 120 / 6 / (1.4e-5 * 30.4375) = 46,935 calls a day, before, over 12 and 2e-4, from 1,693.
    """
    sets = ["price_hosted_input=0.1", "price_hosted_output=0.1", "price_date=2026-11-20", "frontier_lag_months=6"]
    code, report, text = upgrade(outputs, capsys, "--set", *sets)
    before, now = report["money"]["before"], report["money"]["now"]
    assert (code, report["answer"], report["stages"]) == (0, "KEEP", [])
    assert before["hosted"] == pytest.approx(2e-4) and now["hosted"] == pytest.approx(2e-5)
    assert now["own"] == pytest.approx(6e-6) and before["training"] == pytest.approx(120, abs=0.01)
    assert before["pays_from"] == pytest.approx(120 / 12 / (1.94e-4 * 30.4375), rel=1e-3)
    assert now["pays_from"] == pytest.approx(120 / 6 / (1.4e-5 * 30.4375), rel=1e-3)
    assert "One more training does not pay" in text and "6 months" in text and "frontier_lag_months" in text
    assert "it only reads kept answers again" in text and not list((outputs / "new").glob("0*"))
    assert verify_run(outputs / "new").problems == []
    page = (outputs / "new" / "upgrade.html").read_text()
    assert "<h1>KEEP</h1>" in page and report["money_line"] in page and "frozen" in page
    (outputs / "new" / "upgrade.html").write_text(page.replace("KEEP", "RETIRE"))
    assert "upgrade.html" in verify_run(outputs / "new").problems[0]


def test_without_a_price_there_is_no_figure_of_money_that_needs_it(outputs, capsys):
    unknown = upgrade(outputs, capsys, "--set", "staff_hours=0", name="unpaid")[1]["money"]["now"]
    assert (unknown["missing"], unknown["training"], unknown["pays_from"]) == (["staff_hours"], None, None)
    assert unknown["own"] and unknown["hosted"], "these need no staff"
    sets = ["price_hosted_input=0", "price_date=2026-11-20"]
    half = upgrade(outputs, capsys, "--set", *sets, name="half")[1]["money"]["now"]
    assert (half["hosted"], half["saved"]) == (None, None)


@pytest.mark.parametrize(
    ("model", "more", "word", "why"),
    [
        ("weak", [], "KEEP", "--retrain"),
        ("better", [], "RETRAIN", "better (few_shot) solves 48 of 60 test problems (sft 30)"),
        ("enough", [], "RETIRE", "without training enough (few_shot) solves 60 of 60"),
        ("rich", ["--retrain"], "RETRAIN", "rich (sft, trained) solves 55 of 60"),
    ],
)
def test_a_new_base_is_paired_with_what_ships(outputs, capsys, model, more, word, why):
    code, report, text = upgrade(outputs, capsys, "--model", model, *more, name=model)
    assert (code, report["answer"]) == (int(word != "KEEP"), word) and why in text
    stages = [name[:2] for name in report["stages"]]
    assert stages == (["00", "01", "04", "02", "04", "06"] if more else ["00", "01", "04"])
    few_shot = next(row for row in report["rows"] if "few_shot" in row["model"])
    assert (few_shot["k_a"], few_shot["k_b"]) == (30, SOLVED[model][0]) and few_shot["gained"] + few_shot[
        "lost"
    ] == abs(SOLVED[model][0] - 30)
    frozen = [read_json(outputs / run / "frozen_spec.json") for run in ("old", model)]
    assert frozen[0]["spec"] == frozen[1]["spec"] and frozen[1]["inherited_from"] == "old"
    assert read_json(outputs / model / "00_should_we_fine_tune" / "spec.json")["sha256"] == frozen[0]["sha256"]
    hosted = [row["k_b"] for row in report["rows"] if row["kind"] == "hosted"]
    assert hosted == [5]  # kept answers: it was not asked again
    assert verify_run(outputs / model).problems == []


def test_a_cheaper_hosted_model_retires_only_what_it_can_replace(outputs, capsys):
    cheap = ["--set", "price_hosted_input=0.001", "price_hosted_output=0.001", "price_date=2026-11-20"]
    code, report, text = upgrade(outputs, capsys, *cheap, name="cheap")
    assert (code, report["answer"]) == (0, "KEEP") and "it no longer pays" in text
    code, report, text = upgrade(outputs, capsys, "--hosted-model", "as-good", *cheap, name="hosted")
    assert (code, report["answer"]) == (1, "RETIRE") and [name[:2] for name in report["stages"]] == ["00"]
    assert "a call of it costs more than one of as-good" in report["sentence"]
    assert report["money_line"].endswith("a month less at 5,000 calls a day.")


def test_looks_at_one_test_split_are_counted(outputs, capsys):
    cli.main(["ledger", "--json"])
    before = json.loads(capsys.readouterr().out)
    report = upgrade(outputs, capsys, "--model", "same", name="same")[1]
    assert report["opened_before"] == max(row["runs"] for row in before["splits"])
    cli.main(["ledger", "--json"])
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert runs[-1]["run"] == "same" and runs[-1]["verdict"] == "KEEP" and len(runs) == len(before["runs"]) + 1
    assert "A p-value supposes one look" in report["looks_line"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing changed"),
        (["--model", "old"], "nothing changed"),
        (["--model", "old", "--model-revision", "2"], "has the weights of the base"),
        (["--set", "price_hosted_input=0.5"], "add --set price_date="),
        (["--set", "price_hosted_input=0.5", "price_date=soon"], "price_date is 'soon'"),
        (["--set", "smallest_gain=5"], "does not change smallest_gain (the old run's specification"),
        (["--set", "lora_rank=4"], "only --retrain would read it"),
        (["--retrain"], "name it with --model"),
        (["--model-revision", "2"], "name the model too"),
        (["--set", "hosted_url=", "--hosted-model", "x"], "has no answers"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_leaves_nothing(outputs, capsys, arguments, sentence):
    code, report, text = upgrade(outputs, capsys, *arguments, name="nothing")
    assert code == 2 and sentence in text and len(text.strip().splitlines()) == 1
    assert report == {} and not (outputs / "nothing").exists()


def test_a_changed_or_unshipped_run_is_refused(outputs, capsys):
    shutil.copytree(outputs / "old", outputs / "stale")
    frozen = read_json(outputs / "stale" / "frozen_spec.json")
    frozen["spec"]["target_score"] = 40.0
    write_json(outputs / "stale" / "frozen_spec.json", frozen)
    assert cli.main(["upgrade", "stale", "--model", "weak"]) == 4
    assert "run stale is not what was recorded: frozen_spec.json" in capsys.readouterr().err
    assert cli.main(["upgrade", "weak", "--model", "better"]) == 2
    assert "run weak never shipped (its verdict: none)" in capsys.readouterr().err
    shutil.rmtree(outputs / "stale")


def test_another_test_split_is_refused(outputs, capsys, monkeypatch):
    """The kit's own data may have changed since: other problems under the same parameters."""
    other = from_problems("task", [PROBLEMS[0] | {"prompt": "say it"}, *PROBLEMS[1:]])
    monkeypatch.setitem(globals(), "BENCH", other)
    code, _, text = upgrade(outputs, capsys, "--model", "better", name="other-problems")
    assert code == 2 and "inherited from run old differs from this run's in sha256 of task" in text


def test_what_came_later_takes_the_default_and_is_said(outputs, capsys):
    path = outputs / "old" / "run.json"
    kept = path.read_text()
    run = json.loads(kept)
    del run["study"]["params"]["few_shot"]
    path.write_text(json.dumps(run))
    try:
        assert cli.main(["status", "old"]) == 0
        assert (
            "old's frozen study lacks few_shot, which came later: base.yaml's default stands" in capsys.readouterr().out
        )
        report = upgrade(outputs, capsys, "--model", "weak", name="later")[1]
        assert "old's frozen study lacks few_shot" in report["notes"][0]
    finally:
        path.write_text(kept)


SPEC = {"target_score": 90.0, "smallest_gain": 0.0, "largest_loss": 5.0, "budget": 100.0}


def solves(k: int, n: int = 400) -> Scores:
    return Scores("", {str(at): [at < k] for at in range(n)}, {}, {"n": n})


def decided(ships: int, others: list[rules.Option], money=None, **more) -> dict:
    evidence = rules.evidence_for(SPEC | more, seconds=0.5, training_seconds=600.0)
    return rules.answer("sft", solves(ships), others, evidence, money or rules.Money())


def test_many_prompts_do_not_meet_the_specification_by_chance():
    """373 of 400 is 93.25%, its lower end 90.4 at 95%; each of six prompts must clear a stricter bound, 89.7 here."""
    prompt = rules.Option("few_shot", rules.PROMPT, solves(373))
    assert decided(300, [prompt])["answer"] == "RETIRE"
    assert decided(300, [prompt, *[rules.Option("other", rules.PROMPT, solves(9))] * 5])["answer"] == "RETRAIN"


def test_a_gain_below_the_margin_is_no_loss():
    """With smallest_gain NO-GO says that the gain is too small, and the sentence said that what ships solves more."""
    better = rules.Option("new base", rules.PROMPT, solves(208))
    kept = decided(200, [better], smallest_gain=5.0)
    assert kept["answer"] == "KEEP" and "nothing that could take its place gains the 5 points" in kept["sentence"]
    retired = decided(372, [rules.Option("new base", rules.PROMPT, solves(376))], smallest_gain=5.0)
    assert retired["answer"] == "RETIRE" and "solves fewer" not in retired["sentence"]
    assert (
        "it solves more than everything" in decided(300, [rules.Option("few", rules.PROMPT, solves(100))])["sentence"]
    )


def test_a_better_tune_must_fit_the_budget_and_its_own_verdict():
    tune = rules.Option("NEW, trained", rules.TUNE, solves(300))
    assert decided(200, [tune], rules.Money(None, 99.0))["answer"] == "RETRAIN"
    dear = decided(200, [tune], rules.Money(None, 101.0))
    assert dear["answer"] == "KEEP" and "one training costs 101 and the budget is 100" in dear["sentence"]
    lost = rules.Option("NEW, trained", rules.TUNE, solves(300), "its own verdict is NO-GO")
    assert decided(200, [lost])["answer"] == "KEEP" and "its own verdict is NO-GO" in decided(200, [lost])["sentence"]


def test_what_needs_a_network_does_not_replace_what_must_not():
    money = rules.Money((-3.0, -2.0, -1.0))
    hosted = rules.Option("gpt", rules.HOSTED, solves(300))
    found = decided(300, [hosted], money, privacy="no text leaves the machine")
    assert found["answer"] == "RETIRE" and "says of privacy: no text leaves the machine" in found["sentence"]
    assert decided(300, [rules.Option("gpt", rules.HOSTED, solves(300), "needs a network")], money)["answer"] == "KEEP"
    limited = decided(300, [hosted], money, largest_memory_mb=500.0)
    assert not limited["settled"] and "largest_memory_mb" in limited["settles"][0]


def test_an_open_answer_says_what_would_settle_it():
    found = decided(200, [rules.Option("few_shot", rules.PROMPT, solves(203))])
    assert (found["answer"], found["settled"]) == ("KEEP", False)
    assert re.search(
        r"for the gain over sft by few_shot, about [\d,]+ problems \(there are 400\), about .* of the machine",
        found["settles"][0],
    )
    found = decided(200, [rules.Option("few_shot", rules.PROMPT, solves(100))])
    assert (found["answer"], found["settled"], found["settles"]) == ("KEEP", True, [])
    assert not decided(200, [])["settled"] and "--model" in decided(200, [])["settles"][0]


def test_scores_that_were_judged_otherwise_are_not_compared():
    """How a system is asked is its own; how its answers are read is not."""
    ships = Scores("", {}, Protocol("a", chat_template_sha256="x").to_dict())
    options.require_same(
        ships, Scores("", {}, Protocol("a", chat_template_sha256="y", prompt_style="few_shot").to_dict()), "A", "B"
    )
    for other in (Protocol("a", extractor="older/1"), Protocol("b"), Protocol("a", temperature=0.7)):
        with pytest.raises(InputProblem, match="extractor|benchmark_sha256|temperature"):
            options.require_same(ships, Scores("", {}, other.to_dict()), "A", "B")
