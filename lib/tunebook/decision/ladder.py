"""The ladder without training: what instruction, examples, a larger model or a hosted one reach on the same problems.

Uses the same completion and score path as every other score. Does not decide.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunebook.decision.economics import NO_PRICE, Prices, share_seconds, whole_seconds
from tunebook.decision.gates import rung_row
from tunebook.decision.search import Prompt, Search
from tunebook.errors import InputProblem
from tunebook.evaluation import completions, prompts
from tunebook.evaluation.hosted import Hosted
from tunebook.evaluation.measure import answer_and_score, ask_and_score
from tunebook.evaluation.prompts import fixed_examples, nearest_examples
from tunebook.evaluation.protocol import Asking
from tunebook.evaluation.score import score
from tunebook.files import write_jsonl
from tunebook.models.device import choose_placement, this_machine
from tunebook.models.engine import Decoding
from tunebook.models.loading import open_engine
from tunebook.models.source import resolve_model

# nearest asks no model, few_shot shows fixed examples, retrieved the nearest ones; searched is the prompt that a search
# found on dev; larger and hosted are other systems.
RUNGS = ("nearest", "instruction", "few_shot", "retrieved", "searched", "larger", "hosted")


@dataclass(frozen=True)
class Ladder:
    """Which rungs are tried without training, and what they need. `target_score` (points): prompting that reaches it is
    enough.

    `few_shot` examples are shown in the rungs few_shot and retrieved; `larger_model` (in the form `chat_template`, its
    turns closed by `end_of_turn` where that is named) and a hosted model, as a file `hosted_completions` or as the
    server `hosted`, are rungs of their own where they are named. What `needs_offline` is no hosted model.
    """

    rungs: Sequence[str]
    few_shot: int = 4
    larger_model: str = ""
    larger_model_revision: str = ""
    hosted_completions: str = ""
    hosted: Hosted = Hosted()
    chat_template: str = "chatml"
    target_score: float = 90.0
    end_of_turn: str = ""
    searched: Prompt | None = None
    needs_offline: bool = False

    def with_searched(self, found: Search) -> Ladder:
        """The ladder with the prompt that a search found as one rung more; the same ladder where it found none."""
        return replace(self, searched=found.prompt)

    def wanted(self, has_instruction: bool, n_rows: int) -> list[str]:
        """The rungs to score: those named, and `larger` and `hosted` where a model or a file is given. InputProblem
        where one of them lacks what it needs; found before any model is loaded.
        """
        for name in self.rungs:
            if name not in RUNGS:
                raise InputProblem(f"ladder: {name!r} is no rung; choose from {', '.join(RUNGS)}")
        wanted = [name for name in RUNGS if name in self.rungs]
        if self.hosted.url:
            self.hosted.check()
            if self.hosted_completions:
                raise InputProblem("ladder: hosted_url and hosted_completions both name a hosted model; give one")
        given = {
            "larger": self.larger_model,
            "hosted": self.hosted_completions or self.hosted.url,
            "searched": self.searched,
        }
        needs = {"larger": "larger_model", "hosted": "hosted_completions or hosted_url", "searched": "search_share"}
        for name, parameter in needs.items():
            if name in wanted and not given[name]:
                raise InputProblem(f"ladder: {name} needs {parameter}; name it, or leave the rung out")
            if given[name] and name not in wanted:
                wanted.append(name)
        if "instruction" in wanted and not has_instruction:
            raise InputProblem(
                "ladder: this task has no instruction; set instruction, leave the rung out, or use few_shot"
            )
        if "nearest" in wanted and not n_rows:
            raise InputProblem("ladder: nearest needs training rows with a prompt; leave the rung out")
        if ("few_shot" in wanted or "retrieved" in wanted) and not (self.few_shot and n_rows):
            raise InputProblem("ladder: few_shot needs examples; raise few_shot above 0, or leave the rung out")
        return wanted


def climb(ladder: Ladder, engine, problems, rows: list[dict], asking: Asking, context) -> tuple[list[dict], dict]:
    """Scores the rungs that `ladder` wants. Returns their rows, and the calls of each by its name.

    `rows` are the training rows that examples come from. The larger model is loaded after the others and shown fixed
    examples.
    """
    found, calls = [], {}
    fixed = fixed_examples(rows, ladder.few_shot, asking.seed)
    for rung in ladder.wanted(bool(asking.instruction), len(rows)):
        if rung == "hosted":
            metrics, calls[rung] = score_hosted(ladder, problems, context, engine.tokenizer, asking, fixed)
        elif rung == "nearest":
            metrics, calls[rung] = score_nearest(problems, rows, context, asking)
        elif rung == "larger":
            metrics, calls[rung] = score_rung(
                rung,
                _larger(ladder, engine, context, asking.thinking),
                problems,
                context,
                _asking_of(asking, fixed),
                fixed,
            )
        elif rung == "searched":
            fields, shown = ladder.searched.asked(rows, problems, asking.seed)
            metrics, calls[rung] = score_rung(rung, engine, problems, context, replace(asking, **fields), shown)
        else:
            shown = {"few_shot": fixed, "instruction": ()}.get(rung)
            shown = nearest_examples(rows, problems, ladder.few_shot) if shown is None else shown
            metrics, calls[rung] = score_rung(rung, engine, problems, context, _asking_of(asking, shown), shown)
        found.append(rung_row(rung, metrics, ladder.target_score, ladder.needs_offline))
    return found, calls


def _larger(ladder: Ladder, engine, context, thinking: str):
    """The larger local model that the study names, on the same device and in the same conversation form."""
    source = resolve_model(ladder.larger_model, ladder.larger_model_revision)
    context.external(source.name, source.revision, source.sha256)
    speaking = {"end_of_turn": ladder.end_of_turn, "thinking": thinking}
    return open_engine(source, choose_placement(this_machine()), ladder.chat_template, engine.slots, **speaking)


def _asking_of(asking: Asking, examples) -> Asking:
    """As 04 asks, but with examples in place of the instruction where there are some."""
    return (
        replace(asking, prompt_style="few_shot", instruction="") if examples else replace(asking, prompt_style="chat")
    )


def score_rung(rung: str, engine, problems, context, asking: Asking, examples=()) -> tuple[dict, list[dict]]:
    """Scores one rung on all problems; the folder is `ladder/RUNG` of the stage. Returns its metrics, and every call
    with its tokens and its share of the seconds.

    `examples` are rows of `examples_from`, or of `nearest_examples`, shown where the style is few_shot.
    """
    folder = context.folder / "ladder" / rung
    done = answer_and_score(engine, problems, folder, context, examples, **asking.fields("task"))
    protocol, calls = done["protocol"], []
    by_task = {problem["task_id"]: problem for problem in problems.problems}
    for row in done["rows"]:
        problem = by_task[row["task_id"]]
        shown = examples[problem["task_id"]] if isinstance(examples, dict) else examples
        asked = prompts.messages(problem, protocol.prompt_style, protocol.instruction, shown)
        calls.append({"input_tokens": len(engine.encode(asked, protocol.thinking)), "output_tokens": row["n_tokens"]})
    share_seconds(calls, whole_seconds(done["cost"], sum(call["output_tokens"] for call in calls)))
    started = time.perf_counter()
    list(engine.generate([engine.encode(asked, protocol.thinking)], Decoding(protocol.max_new_tokens)))
    calls[0]["latency"] = time.perf_counter() - started
    return done["metrics"], calls


def score_nearest(problems, rows: list[dict], context, asking: Asking) -> tuple[dict, list[dict]]:
    """The rung without a model: every problem gets the answer of the training row whose prompt is most like it. A model
    that is not better has learned to look up.
    """
    folder, started = context.folder / "ladder" / "nearest", time.perf_counter()
    found = nearest_examples(rows, problems, 1)
    answers = [
        {"task_id": task, "sample": 0, "completion": near[0]["completion"] or ""} for task, near in found.items()
    ]
    seconds = (time.perf_counter() - started) / len(answers)
    record = {key: getattr(asking, key) for key in ("answer_reading", "code_block", "cpu_seconds")}
    write_jsonl(folder / "completions.jsonl", answers)
    metrics = score(problems, answers, folder / "score", record, allow_unisolated=asking.allow_unisolated)
    return metrics, [{"input_tokens": 0, "output_tokens": 0, "seconds": seconds} for _ in answers]


def score_hosted(ladder: Ladder, problems, context, tokenizer, asking: Asking, examples) -> tuple[dict, list[dict]]:
    """The rung of a hosted model, judged like every other: its server is asked (with the instruction, else with the
    examples), or a completions file is read that the user brings.

    A file's tokens are counted with the base model's tokenizer where it has no counts, so a price from them is an
    estimate. Machine seconds are 0: they are another's.
    """
    folder = context.folder / "ladder" / "hosted"
    if ladder.hosted.url:
        shown = () if asking.instruction else tuple(examples)
        fields = asking.fields("task") | {"prompt_style": "few_shot" if shown else "chat"}
        done = ask_and_score(ladder.hosted, problems, folder, context, shown, **fields)
        rows, metrics = done["rows"], done["metrics"]
    else:
        rows = completions.read_completions(ladder.hosted_completions, problems)
        record = {key: getattr(asking, key) for key in ("answer_reading", "code_block", "cpu_seconds")}
        metrics = score(problems, rows, folder / "score", record, allow_unisolated=asking.allow_unisolated)
    texts = {problem["task_id"]: problem["prompt"] for problem in problems.problems}
    calls = []
    for row in rows:
        counts = row.get("input_tokens"), row.get("n_tokens")
        if not all(type(count) is int for count in counts):
            counts = [len(tokenizer(text)["input_ids"]) for text in (texts[row["task_id"]], row["completion"])]
        calls.append({"input_tokens": counts[0], "output_tokens": counts[1], "seconds": 0.0})
    if ladder.hosted.url:
        calls[0]["latency"] = statistics.median(row["seconds"] for row in rows)
    write_jsonl(
        folder / "calls.jsonl", [{key: call[key] for key in ("input_tokens", "output_tokens")} for call in calls]
    )
    return metrics, calls


def rung_cost(rung: str, calls: list[dict], prices: Prices) -> dict:
    """Price and latency of a rung, means a call: tokens, machine seconds (in a full batch), the seconds of one call
    alone, and money a thousand calls where the price that it needs is given.
    """
    means = {key: sum(call[key] for call in calls) / len(calls) for key in ("input_tokens", "output_tokens", "seconds")}
    if rung == "hosted":
        priced = bool(prices.price_hosted_input or prices.price_hosted_output)
        money = (
            means["input_tokens"] * prices.price_hosted_input + means["output_tokens"] * prices.price_hosted_output
        ) / 1e6
    else:
        priced = bool(prices.price_machine_hour)
        money = means["seconds"] / 3600 * prices.price_machine_hour / prices.utilisation
    shown = {key: round(value, 4) for key, value in means.items()}
    shown["seconds_alone"] = round(calls[0]["latency"], 3) if "latency" in calls[0] else "not known"
    return {"rung": rung, **shown, "money_per_1000_calls": round(1000 * money, 6) if priced else NO_PRICE}
