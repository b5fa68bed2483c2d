"""Rules beside the gain over base: the best prompt, slices, bits per byte, the exported file, and gates that were
never measured.
"""

import re
from types import SimpleNamespace

import pytest

from tunebook.decision import gates
from tunebook.decision import gather as gathering
from tunebook.decision.economics import Prices
from tunebook.decision.gather import Evidence
from tunebook.decision.hinges import hinges
from tunebook.decision.ladder import Ladder, climb, rung_cost
from tunebook.decision.report import balance, headline, meaning
from tunebook.decision.verdict import decide
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.protocol import Asking
from tunebook.evaluation.score_folder import Scores
from tunebook.files import write_jsonl
from tunebook.models.engine import Generated
from tunebook.statistics.compare import noninferiority
from tunebook.statistics.intervals import wilson
from tunebook.statistics.paired import mcnemar, paired_interval

N = 80
SPEC = {"smallest_gain": 0.0, "largest_loss": 5.0, "largest_bits_rise": 10.0, "gated": [], "target_score": 90.0}


def scores(passing, sha: str = "x", n: int = N) -> Scores:
    return Scores("", {str(at): [at in passing] for at in range(n)}, {"benchmark_sha256": sha}, {})


def rung(name: str, passing, sha: str = "x") -> dict:
    return {"rung": name, "k": len(passing), "n": N, "meets_spec": False, "rule": "r", "scores": scores(passing, sha)}


def evidence(after=range(40), base=range(2), **changes) -> Evidence:
    names = {"rungs", "slices", "bits", "scores"}
    parts = {name: value for name, value in changes.items() if name in names}
    spec = SPEC | {name: value for name, value in changes.items() if name not in names}
    found = {"base": {"task": scores(set(base))}, "sft": {"task": scores(set(after))}} | parts.pop("scores", {})
    return Evidence(found, "task", spec, **parts)


@pytest.mark.parametrize(
    ("prompted", "verdict"),
    [(range(4), "GO"), (range(38), "INCONCLUSIVE"), (range(75), "NO-GO")],
)
def test_a_gain_over_base_is_worth_nothing_where_a_prompt_has_it_too(prompted, verdict):
    outcome = decide(evidence(rungs=[rung("few_shot", set(prompted)), rung("instruction", set())]), "sft")
    assert outcome["verdict"] == verdict
    assert {row["against"] for row in outcome["rungs"]} == {"few_shot"}, "the best prompt is compared, not every one"


def cut(found, side: str, tasks) -> None:
    """The answers to these problems, which failed, were cut."""
    kept = found.scores[side]["task"]
    kept.metrics.update({"n": N, "unfinished": {"truncated": len(tasks), "open_thought": 0}})
    kept.at_best.update({task: [passed[0] or task in set(map(str, tasks))] for task, passed in kept.passed.items()})


@pytest.mark.parametrize(
    ("side", "tasks", "verdict"),
    [
        ("base", range(40, 48), "GO"),  # ten percent is not more than the limit
        ("base", range(40, 52), "GO"),  # 2 and 12 more, all right, against 40: shown still
        ("base", range(40, 75), "INCONCLUSIVE"),  # 2 and 35 more could be as good
        ("sft", range(40, 52), "GO"),  # its own cut answers count as wrong already
    ],
)
def test_a_gain_stands_only_where_the_answers_that_were_cut_cannot_undo_it(side, tasks, verdict):
    found = evidence(measured_by={"unfinished_limit": 10.0})
    for name in ("base", "sft"):
        cut(found, name, ())
    cut(found, side, tasks)
    outcome = decide(found, "sft")
    assert outcome["verdict"] == verdict
    share = f"{100 * len(tasks) / N:.0f}% of {side}'s answers"
    assert (share in outcome["reasons"][0]) == (len(tasks) > 8)
    if verdict == "INCONCLUSIVE":
        assert "raise max_new_tokens" in outcome["reasons"][-1] and "what would settle" in outcome["reasons"][-1]
        assert "max_new_tokens" in hinges(outcome, [], found.spec)[0]["meaning"]
    elif len(tasks) > 8 and side == "base":
        assert "even with all of base's counted as right" in outcome["reasons"][0]


def test_a_loss_stands_only_where_the_models_own_cut_answers_cannot_undo_it():
    for tasks, verdict in ((range(40, 52), "NO-GO"), (range(40, 78), "INCONCLUSIVE")):
        found = evidence(after=range(2), base=range(40), measured_by={"unfinished_limit": 10.0})
        cut(found, "base", ())
        cut(found, "sft", tasks)
        assert decide(found, "sft")["verdict"] == verdict


def test_a_slice_that_no_problem_has_leaves_its_gate_open():
    found = evidence(after=range(10, 60), base=range(10), slices={"weekly": list(map(str, range(20)))})
    found.spec["slices"] = ["wekly"]
    outcome = decide(found, "sft")
    assert outcome["verdict"] != "GO" and "slice wekly is named" in " ".join(outcome["reasons"])


def test_slices_that_nobody_named_do_not_weaken_the_gate():
    """0 gained and 7 lost: p = 0.016 alone, and 0.11 among seven slices more."""
    slices = {"weekly": list(map(str, range(7)))} | {
        f"s{n}": [str(at) for at in range(10 + n, 70, 7)] for n in range(7)
    }
    found = evidence(after=range(7, 60), base=range(7), slices=slices)
    found.spec["slices"] = ["weekly"]
    assert decide(found, "sft")["verdict"] == "NO-GO"


def test_what_was_chosen_on_test_and_what_could_not_be_compared_is_said():
    samples = {
        name: Scores("", {str(at): [name == "sft", False] for at in range(N)}, {"benchmark_sha256": "x"}, {})
        for name in ("base", "sft")
    }
    found = evidence(rungs=[rung("few_shot", set())], scores={name: {"task": one} for name, one in samples.items()})
    found.chosen_on_test = "05_export_gguf"
    outcome = decide(found, "sft")
    assert (
        "not compared with the best prompt, few_shot" in " ".join(outcome["reasons"])
        and "selected on test" in outcome["reasons"][-2]
    )
    assert outcome["verdict"] == "INCONCLUSIVE" and outcome["rungs"] == [], (
        "no GO without the gain over the best prompt"
    )


def test_who_asks_for_more_than_a_gain_needs_the_gain_itself():
    """4 gained and none lost of 80: the interval lies above 0.1 points, and a coin gives it once in eight."""
    found = evidence(after=range(4), base=set())
    found.spec["smallest_gain"] = 0.1
    outcome = decide(found, "sft")
    assert outcome["gains"][0]["interval"][0] > 0.1 and outcome["verdict"] == "INCONCLUSIVE"


def test_a_model_that_is_shown_to_be_better_has_lost_nothing():
    """Base solves 2 of 80, so no loss of 5 points could be seen; but this is a gain."""
    before, after = ({str(at): [at < k] for at in range(80)} for k in (2, 60))
    assert noninferiority(before, after, 5.0)["verdict"] == "non-inferior"
    assert noninferiority(before, before, 5.0)["verdict"] == "cannot see a loss"


def test_the_number_that_the_verdict_hangs_on_is_that_of_the_comparison_that_decides():
    """Over base 11 gained and 2 lost are a gain; over the best prompt 9 and 2 are none, one more would be."""
    found = evidence(after=set(range(2, 13)), base={0, 1}, rungs=[rung("few_shot", set(range(4)))])
    outcome = decide(found, "sft")
    assert outcome["verdict"] == "INCONCLUSIVE"
    [first, *_] = hinges(outcome, [], found.spec)
    assert (first["number"], first["about"]) == ("1", "rung few_shot") and "gain over few_shot" in first["meaning"]


def test_another_system_is_compared_and_does_not_decide():
    outcome = decide(evidence(rungs=[rung("hosted", set(range(78)))]), "sft")
    assert outcome["verdict"] == "GO" and outcome["rungs"][0]["verdict"] == "NO-GO"


def test_two_tests_on_the_model_that_ships_are_corrected():
    """6 gained, none lost: p = 0.031 alone, 0.0625 when two such tests are made."""
    alone = evidence(after=range(6), base=())
    assert decide(alone, "sft")["verdict"] == "GO"
    both = evidence(after=range(6), base=(), rungs=[rung("few_shot", set())])
    assert decide(both, "sft")["verdict"] == "INCONCLUSIVE"


def test_a_rung_on_other_problems_is_refused():
    with pytest.raises(InputProblem, match="different problems"):
        decide(evidence(rungs=[rung("few_shot", set(), "y")]), "sft")


@pytest.mark.parametrize(("named", "verdict"), [(["old"], "NO-GO"), ([], "GO")])
def test_a_slice_that_the_specification_names_may_not_get_worse(named, verdict):
    """A gain of 30 problems hides ten that were right before."""
    slices = {"old": [str(at) for at in range(10)], "new": [str(at) for at in range(10, N)]}
    outcome = decide(_sliced(slices, named), "sft")
    assert outcome["verdict"] == verdict
    assert any("slice old" in reason and "is worse" in reason for reason in outcome["reasons"])


def _sliced(slices: dict, named: list) -> Evidence:
    found = evidence(after=range(10, 60), base=range(10), slices=slices)
    found.spec = {**found.spec, "slices": named}
    return found


def bits(rise: float, n: int = 20) -> dict:
    base = {f"d{at}": 1.0 + at / 50 for at in range(n)}
    return {
        "base": base,
        "sft": {name: value * (1 + rise / 100 + (int(name[1:]) % 3 - 1) / 100) for name, value in base.items()},
    }


@pytest.mark.parametrize(("rise", "verdict"), [(2.0, "GO"), (10.0, "INCONCLUSIVE"), (25.0, "NO-GO"), (-5.0, "GO")])
def test_bits_per_byte_is_a_gate(rise, verdict):
    outcome = decide(evidence(bits=bits(rise), gated=["bits_per_byte"]), "sft")
    assert outcome["verdict"] == verdict
    assert any(reason.startswith("bits per byte of general text (gate)") for reason in outcome["reasons"])
    assert decide(evidence(bits=bits(rise)), "sft")["verdict"] == "GO", "without the gate it is only reported"


def test_a_gate_on_what_was_never_measured_is_open():
    outcome = decide(evidence(gated=["bits_per_byte", "humanevil"]), "sft")
    assert outcome["verdict"] == "INCONCLUSIVE"
    assert sum("is gated but was not measured" in reason for reason in outcome["reasons"]) == 2


def test_models_that_read_different_texts_are_not_compared():
    found = bits(0.0)
    found["sft"].pop("d0")
    with pytest.raises(InputProblem, match="different general texts"):
        decide(evidence(bits=found), "sft")


def test_an_exported_file_that_lost_the_gain_is_no_go_although_it_beats_base():
    more = {"gguf": {"task": scores(set(range(20)))}}
    found = evidence(after=range(70))
    found.scores |= more
    outcome = decide(found, "gguf", "sft")
    assert outcome["file"]["verdict"] == "violation" and outcome["verdict"] == "NO-GO"


PROBLEMS = [
    {"task_id": str(at), "prompt": f"say {at}", "entry_point": "check", "canonical_solution": str(at),
    "kind": "answer", "test": f"def check(answer):\n    assert answer == '{at}'\n"}
    for at in range(12)
]  # fmt: skip


class Engine:
    """Answers right when it was shown an example."""

    chat_template, tokenizer, slots = "t", staticmethod(lambda text: {"input_ids": text.split()}), 4

    def asked_text(self, thinking="none"):
        return "a question", "an end"

    def encode(self, messages, thinking="none"):
        return [int(messages[-1]["content"].split()[-1]), len(messages)]

    def decode(self, ids):
        return str(ids[0]) if ids[1] > 1 else "no"

    def generate(self, prompts, decoding, on_tokens=None, only=None, stops=()):
        yield from (Generated(at, prompts[at], "stop") for at in (range(len(prompts)) if only is None else only))


def test_the_ladder_is_climbed_on_one_path_and_priced(tmp_path):
    bench = from_problems("task", [dict(problem) for problem in PROBLEMS])
    write_jsonl(
        tmp_path / "hosted.jsonl", [{"task_id": p["task_id"], "completion": p["canonical_solution"]} for p in PROBLEMS]
    )
    hosted = str(tmp_path / "hosted.jsonl")
    ladder = Ladder(["instruction", "few_shot", "retrieved"], few_shot=2, hosted_completions=hosted, target_score=70.0)
    asking = Asking(instruction="Say it.", max_new_tokens=8, allow_unisolated=True)
    context = SimpleNamespace(folder=tmp_path, progress=None, answers_folder=None)
    rows = [
        {
            "prompt": [{"role": "user", "content": f"say {at} {at}"}],
            "completion": [{"role": "assistant", "content": "x"}],
        }
        for at in range(5)
    ]
    found, calls = climb(ladder, Engine(), bench, rows, asking, context)
    assert [(row["rung"], row["k"], row["meets_spec"]) for row in found] == [
        ("instruction", 0, False), ("few_shot", 12, True), ("retrieved", 12, True), ("hosted", 12, True),
    ]  # fmt: skip
    assert (tmp_path / "ladder" / "hosted" / "score" / "scores.jsonl").is_file()
    prices = Prices("s", "2026-11-25", price_hosted_input=5.0)
    assert rung_cost("few_shot", calls["few_shot"], prices)["money_per_1000_calls"] == "no price given"
    assert rung_cost("hosted", calls["hosted"], prices)["money_per_1000_calls"] == pytest.approx(1000 * 2 * 5e-6)
    assert rung_cost("few_shot", calls["few_shot"], prices)["seconds_alone"] >= 0


@pytest.mark.parametrize(("check", "targets", "failed"), [
    (gates.PROMPTING, ["base"], {}),
    ("runner", [], {"04_evaluate_pass_at_1@base": "failed its gate: runner is 1, rule 0"}),
])  # fmt: skip
def test_a_base_model_that_is_good_enough_is_an_answer_and_not_a_failure(check, targets, failed):
    row = {"name": check, "measured": 1, "rule": "0", "ok": False, "severity": "error"}
    passed, stopped = (
        SimpleNamespace(status="pass", manifest={"checks": []}),
        SimpleNamespace(status="fail", manifest={"checks": [row]}),
    )
    found = {"00_should_we_fine_tune": passed, "04_evaluate_pass_at_1@base": stopped}
    states = {"04_evaluate_pass_at_1@base": {"state": "fail"}, "02_train_sft": {"state": "skipped"}}
    context = SimpleNamespace(
        name="06_verdict", stages=[*found, "02_train_sft", "06_verdict"], run_state=lambda: states
    )
    assert list(gathering.scored(found)) == targets and gathering._failed(context, found) == failed


def kept_pair(before: int, after: int, n: int = 164) -> dict:
    passed = [{str(at): [at < k] for at in range(n)} for k in (before, after)]
    metrics = {"k": before, "n": n, "pass_at_1": before / n, "interval": [0, 1]}
    return {
        "base": {"task": scores(set(range(2))), "humaneval": Scores("", passed[0], {"benchmark_sha256": "h"}, metrics)},
        "sft": {"task": scores(set(range(40))), "humaneval": Scores("", passed[1], {"benchmark_sha256": "h"}, metrics)},
    }


@pytest.mark.parametrize(("gated", "verdict"), [([], "GO"), (["nothing"], "GO"), (["humaneval"], "INCONCLUSIVE")])
def test_a_shown_loss_is_said_first_and_named_in_the_headline(gated, verdict):
    """9 of 164 to 0: 9 lost, none gained, p = 0.004. It was printed as "cannot see a loss" beside a GO."""
    outcome = decide(evidence(scores=kept_pair(9, 0), gated=gated), "sft")
    assert outcome["verdict"] == verdict
    [reason] = [text for text in outcome["reasons"] if text.startswith("humaneval")]
    assert "a loss is shown (exact p = 0.0039); whether it is less than 5 points cannot be told: base solves" in reason
    assert "humaneval fell from 9 to 0 of 164" in headline(outcome) and "nothing is shown" not in meaning(outcome)
    assert balance(outcome)["lost"] == [text for text in balance(outcome)["lost"] if "humaneval" in text] != []


def test_a_loss_over_several_samples_a_problem_is_shown_too():
    """All of 14 problems lost, four samples each: shown, by the sign-flip test, while five points could not be seen."""
    before = {str(at): [at % 12 == 0] * 4 for at in range(164)}
    after = {task: [False] * 4 for task in before}
    row = noninferiority(before, after, 5.0)
    assert (row["verdict"], row["shown"]) == ("cannot see a loss", "worse")
    assert noninferiority(before, after, 2.0)["verdict"] == "violation"


@pytest.mark.parametrize(("named", "verdict"), [({}, "GO"), ({"own_study": True}, "INCONCLUSIVE")])
def test_an_own_study_that_gates_nothing_gets_no_go_ahead(named, verdict):
    """Total forgetting of what nobody named was a GO."""
    outcome = decide(evidence(scores=kept_pair(9, 0), **named), "sft")
    assert outcome["verdict"] == verdict
    said = decide(evidence(gated=["nothing"], **named), "sft")
    assert said["verdict"] == "GO" and any("no loss beside the task matters" in text for text in said["reasons"])
    if named:
        assert any('gated: ["nothing"]' in text for text in outcome["reasons"])


def test_what_would_settle_it_has_its_price():
    """30 to 33 of 80: at 36 seconds a problem and 2 an hour, every hundred problems more are an hour and 2."""
    found = evidence(base=range(30), after=range(33))
    found.seconds, found.price_hour = {"task": 36.0}, 2.0
    text = decide(found, "sft")["reasons"][-1]
    needed, hours, money = re.search(
        r"about ([\d,]+) problems \(there are 80\), about ([\d.]+) \w+ of the machine \(([\d.]+) at 2 an hour\)", text
    ).groups()
    assert float(money) == pytest.approx((int(needed.replace(",", "")) - 80) * 36 / 3600 * 2, rel=0.1), (text, hours)
    found = evidence(base=range(30), after=range(30))
    found.training_seconds = 1800.0
    assert "another seed (about 30 minutes of the machine)" in decide(found, "sft")["reasons"][-1]


def test_a_loss_that_chance_explains_is_not_called_shown():
    """4 lost, none gained: p = 0.125, although the one-sided interval lies below zero."""
    outcome = decide(evidence(scores=kept_pair(9, 5)), "sft")
    assert "a loss is shown" not in " ".join(outcome["reasons"]) and "nothing is shown to have got worse" in meaning(
        outcome
    )


def test_a_small_loss_inside_the_margin_is_still_said():
    outcome = decide(evidence(bits=bits(5.0), gated=["bits_per_byte"]), "sft")
    assert outcome["verdict"] == "GO" and "general text costs 5.0% more bits (allowed: 10%)" in meaning(outcome)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": range(30), "after": range(33)}, r"the gain over base, about [\d,]+ problems \(there are 80\)"),
        ({"scores": kept_pair(80, 75), "gated": ["humaneval"]}, r"for humaneval, about [\d,]+ problems"),
        ({"scores": kept_pair(2, 2), "gated": ["humaneval"]}, "another benchmark: base solves 1.2% of it"),
        ({"gated": ["humaneval"]}, "a score of base and sft on humaneval"),
        ({"base": range(30), "after": range(30)}, "another seed"),
        ({"slices": {}, "base": range(10), "after": range(60)} | {"largest_latency_ms": 50.0}, "05 in the stages"),
    ],
)
def test_an_open_verdict_ends_in_what_would_settle_it(change, words):
    outcome = decide(evidence(**change), "sft")
    assert outcome["verdict"] == "INCONCLUSIVE"
    assert outcome["reasons"][-1].startswith("what would settle it: ") and re.search(words, outcome["reasons"][-1])


def test_the_problems_that_would_settle_a_gain_do_settle_it():
    """Open studies of 150 problems, their true gains drawn: a new study of the size that each names settles its gain
    in 8 of 10. By 80% power at the measured gain it did in 6. Counts alone, as McNemar's test takes them.
    """
    import numpy

    rng, settled, sizes = numpy.random.default_rng(0), [], []
    for truth in rng.uniform(-0.2, 0.2, 2500):
        shares = [0.15 + truth / 2, 0.15 - truth / 2, 0.7]
        gained, lost, _ = rng.multinomial(150, shares).tolist()
        low, high = paired_interval(gained, lost, 150)
        row = {"n": 150, "difference": 100 * (gained - lost) / 150, "interval": [100 * low, 100 * high], "margin": 0.0}
        row |= {"p_exact": mcnemar(gained, lost)[0]}
        if row["p_exact"] < 0.05 or not (needed := gates.problems_needed(row)):
            continue
        gained, lost, _ = rng.multinomial(needed, shares).tolist()
        settled.append(mcnemar(gained, lost)[0] < 0.05)
        sizes.append(needed)
    low, high = wilson(sum(settled), len(settled))
    assert len(settled) > 500 and low < 0.85 and high > 0.8, (sum(settled), len(settled))
    assert gates.problems_needed(row | {"p_exact": 0.1, "p_decides": 0.2}) > gates.problems_needed(row)


def test_an_open_verdict_names_the_power_of_its_number():
    text = decide(evidence(base=range(30), after=range(33)), "sft")["reasons"][-1]
    assert "settles it in 8 of 10 repetitions" in text and "error of the measured difference" in text


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"largest_latency_ms": [80.0, 90.0, 100.0]}, "GO"),
        ({"largest_latency_ms": [80.0, 90.0, 100.1]}, "INCONCLUSIVE"),
        ({"largest_latency_ms": [80.0, 90.0, None]}, "INCONCLUSIVE"),
        ({"largest_latency_ms": [100.1, 120.0, None]}, "NO-GO"),
        ({}, "INCONCLUSIVE"),
    ],
)
def test_a_limit_on_the_file_is_a_gate(figures, verdict):
    found = evidence(largest_latency_ms=100.0, largest_file_mb=0.0)
    found.file = figures
    assert decide(found, "sft")["verdict"] == verdict


def test_offline_is_shown_or_not_claimed():
    for answered, verdict in ((True, "GO"), (False, "NO-GO"), (None, "INCONCLUSIVE")):
        found = evidence(needs_offline=True)
        found.file = {"needs_offline": answered}
        outcome = decide(found, "sft")
        assert outcome["verdict"] == verdict and any("network" in reason for reason in outcome["reasons"])
