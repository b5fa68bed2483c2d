"""A larger teacher: its answers to the training prompts, which of them a student may learn, and what they cost.

A teacher is asked and judged like any other model. Does not train, and does not look at test problems.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tunebook.data.notes import word_finding
from tunebook.data.row_types import demonstrations
from tunebook.data.splits import normalise, prompt_text
from tunebook.data.study_data import StudyData, mark_of, marked_rows, problems_of
from tunebook.data.validate import judge_study
from tunebook.decision.economics import NO_PRICE, Prices
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import Benchmark, from_problems
from tunebook.evaluation.extraction import Reading, extract
from tunebook.evaluation.hosted import Hosted
from tunebook.evaluation.measure import answer_and_score, ask_and_score
from tunebook.evaluation.protocol import Asking
from tunebook.files import read_jsonl
from tunebook.models.device import choose_placement, this_machine
from tunebook.models.loading import open_engine
from tunebook.models.source import resolve_model
from tunebook.picking import pick
from tunebook.statistics.intervals import wilson

RULES = ("right", "agreed", "all")


@dataclass(frozen=True)
class Teacher:
    """A local `model` (a folder, a GGUF file, a package or a Hub id) in the form `chat_template`, or a `hosted` one."""

    model: str = ""
    revision: str = ""
    chat_template: str = "model"
    hosted: Hosted = Hosted()

    def check(self) -> None:
        """InputProblem unless exactly one of the two is named and can be asked."""
        if bool(self.model) == bool(self.hosted.url):
            said = "both name one; give one" if self.model else "neither names one: give a model, or a server's address"
            raise InputProblem(f"teacher: teacher and hosted_url: {said}")
        if self.hosted.url:
            self.hosted.check()


def rows_to_ask(rows: list[dict], task: str, limit: int = 0, seed: int = 0) -> tuple[list[dict], Benchmark]:
    """The training rows whose prompts the teacher gets (`limit` of them, 0 for all), and these prompts as problems.

    A shipped task brings its own checker, else right is the row's own answer. What several rows ask is asked once.

    Rows of 01 with several turns to train, a tool call, or a rejected answer are passed over. InputProblem where none
    is left.
    """
    wanted = [row for row in demonstrations(rows) if _is_answered(row)]
    wanted = wanted if task else marked_rows(wanted, mark_of(wanted))
    if not wanted:
        raise InputProblem("teacher: no training row has one answer in words, so there is nothing to ask")
    once: dict[str, dict] = {}  # two wordings of one request are one problem of a shipped task
    for row in wanted:
        once.setdefault(normalise(problems_of(task, [{**row, "record": 1}])[0]["prompt"]), row)
    chosen = pick(list(once.values()), limit, seed, prompt_text)
    numbered = [{**row, "record": at} for at, row in enumerate(chosen, start=1)]
    return chosen, from_problems("task", problems_of(task, numbered), source="train.jsonl")


def _is_answered(row: dict) -> bool:
    said = row.get("completion") or []
    return len(said) == 1 and bool(said[0].get("content")) and not said[0].get("tool_calls")


def ask_teacher(teacher: Teacher, problems: Benchmark, asking: Asking, examples, context, slots: int = 64) -> dict:
    """Answers and score of the teacher, see `answer_and_score`; `examples` are shown in the style few_shot."""
    teacher.check()
    fields, folder = asking.fields("task"), context.folder / "teacher"
    if teacher.hosted.url:
        shown = tuple(examples) if asking.prompt_style == "few_shot" else ()
        return ask_and_score(teacher.hosted, problems, folder, context, shown, **fields)
    source = resolve_model(teacher.model, teacher.revision)
    context.external(source.name, source.revision, source.sha256)
    placement = choose_placement(this_machine())
    engine = open_engine(source, placement, teacher.chat_template, slots, thinking=asking.thinking)
    return answer_and_score(engine, problems, folder, context, examples, **fields)


def read_answers(done: dict, problems: Benchmark, folder: Path) -> list[dict]:
    """One row a prompt: `task_id`, `slice`, the texts of its `answers` (an answer as the judge read it, a program with
    all that was said), whether each is `right` and has `ended`, the number of the `common` one, and the `share` of
    samples that gave it.

    `folder` is the stage's; samples that were cut at the limit, or gave nothing to judge, count for no common answer.
    """
    reading = Reading(done["metrics"]["answer_reading"], done["metrics"]["code_block"])
    judged = {(row["task_id"], row["sample"]): row for row in read_jsonl(folder / "teacher" / "score" / "scores.jsonl")}
    said = {(row["task_id"], row["sample"]): row for row in done["rows"]}
    found = []
    for problem in problems.problems:
        is_answer, texts, right, read = problem.get("kind") == "answer", [], [], []
        for sample in range(done["protocol"].n_samples):
            at = (problem["task_id"], sample)
            ended = said[at]["finish_reason"] != "length"
            read.append(extract(said[at]["completion"], problem, reading).strip() if ended else "")
            texts.append(read[-1] if is_answer else said[at]["completion"].strip())
            right.append(judged[at]["passed"] and bool(read[-1]))
        common, count = Counter(text for text in read if text).most_common(1)[0] if any(read) else ("", 0)
        first = read.index(common) if common else None
        row = {"task_id": problem["task_id"], "slice": problem.get("slice", ""), "answers": texts, "right": right}
        found.append(row | {"ended": [bool(text) for text in read], "common": first, "share": count / len(read)})
    return found


def student_rows(rows: list[dict], answers: list[dict], keep: str = "right", least_agreement: float = 0.5):
    """The rows with the teacher's answer in place of their own, one for each prompt that has an answer worth keeping.

    `right`: the first answer that the checker passes. `agreed`: the common answer, where more than `least_agreement` of
    the samples gave it; the checker is not asked. `all`: the first that has an end. `rows` and `answers` stand in the
    same order.
    """
    if keep not in RULES:
        raise InputProblem(f"teacher_keep: {keep!r} is no rule; write {', '.join(RULES[:-1])} or {RULES[-1]}")
    if keep == "agreed" and len(answers[0]["answers"]) < 2:
        raise InputProblem("teacher_keep: agreed needs several answers a prompt: set teacher_samples to 3 or more")
    kept = []
    for row, told in zip(rows, answers, strict=True):
        at = told["common"] if told["share"] > least_agreement else None
        if keep != "agreed":
            at = next((at for at, good in enumerate(told["right" if keep == "right" else "ended"]) if good), None)
        if at is not None:
            said = {"role": "assistant", "content": told["answers"][at]}
            kept.append({**row, "completion": [said], "source": "teacher"})
    return kept


def yield_row(done: dict, answers: list[dict], kept: list[dict], prices: Prices, is_hosted: bool) -> dict:
    """What the asking gave and cost: prompts, answers, those right, prompts kept with the 95% interval of the share,
    seconds, and money a kept row where a price is given. A local teacher costs the hours of the machine.
    """
    n, cost, priced = len(answers), done["cost"], prices.price_machine_hour
    money = cost["seconds"] / 3600 * priced / prices.utilisation
    if is_hosted:
        money, priced = cost["money"], prices.price_hosted_input or prices.price_hosted_output
    low, high = wilson(len(kept), n)
    row = {"prompts": n, "answers": sum(len(told["answers"]) for told in answers)}
    row |= {"right": sum(sum(told["right"]) for told in answers), "kept": len(kept), "yield": len(kept) / n}
    row |= {"yield_low": low, "yield_high": high, "tokens": cost["tokens"], "seconds": round(cost["seconds"], 1)}
    unknown = "no row was kept" if priced else NO_PRICE
    return row | {"money_per_kept_row": money / len(kept) if priced and kept else unknown}


def agreement_rows(answers: list[dict]) -> list[dict]:
    """How often the common answer is right where all samples agree, most do, or no half does, with 95% intervals: what
    agreement is worth where there is no checker. [] for one sample a prompt.
    """
    if len(answers[0]["answers"]) < 2:
        return []
    kinds = {"all agree": lambda share: share == 1, "most agree": lambda share: 0.5 < share < 1}
    kinds["no half agrees"] = lambda share: share <= 0.5
    rows = []
    for name, holds in kinds.items():
        told = [one for one in answers if holds(one["share"])]
        right = sum(one["right"][one["common"]] for one in told if one["common"] is not None)
        low, high = wilson(right, len(told)) if told else (0.0, 1.0)
        rows.append({"samples": name, "prompts": len(told), "right": right, "low": low, "high": high})
    return rows


def slice_rows(answers: list[dict]) -> list[dict]:
    """Prompts, right answers and prompts with at least one, for each slice; [] where there is only one."""
    names = sorted({told["slice"] for told in answers})
    parts = {name: [told for told in answers if told["slice"] == name] for name in names if len(names) > 1}
    return [
        {
            "slice": name,
            "prompts": len(part),
            "right": sum(sum(told["right"]) for told in part),
            "ever_right": sum(any(told["right"]) for told in part),
        }
        for name, part in parts.items()
    ]


def judge_student(kept: list[dict], problems: list[dict], benchmarks: dict, progress=None):
    """The gate of 01 on the student's rows (a Judgement): `problems` are the test problems, `benchmarks` what else is
    scored.
    """
    findings = [] if kept else [word_finding("no_rows", 0, detail="no answer of the teacher is worth keeping")]
    study = StudyData(kept, [], [], [], problems, findings, "teacher", n_records=len(kept))
    return judge_study(study, {**benchmarks, "test": problems}, progress)
