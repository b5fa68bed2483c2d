"""The price of not training: prompts are searched on dev with as much computing as a training would take, or a share.

Instructions, worked examples (how many, which, fixed or the nearest) and their form are tried by successive halving
over a fixed grid. Tokens are counted, not seconds, so that the same study finds the same prompt again. Sees no test
problem: the prompt that is found is scored on test once, as a rung like every other.

Source: Jamieson and Talwalkar 2016, Non-stochastic best arm identification and hyperparameter optimization (halving).
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tunebook.evaluation import completions, prompts
from tunebook.evaluation.benchmark import Benchmark, from_problems
from tunebook.evaluation.protocol import Asking, Protocol
from tunebook.evaluation.readiness import Judging
from tunebook.evaluation.reply import Reading
from tunebook.evaluation.score import judge_completions
from tunebook.models.engine import common_prefix
from tunebook.picking import pick

FIRST = 8  # dev problems of the first round; each further round doubles them and keeps half of the prompts
EXAMPLES = (1, 2, 4, 8)
DRAWS = 2  # choices of fixed examples
WORDINGS = (
    "Give the answer only, without an explanation.",
    "Read the input below carefully and write the one right answer to it, in exactly the form that is expected.",
)
# Passes of a trained token: forward, and backward at twice its cost. Source: Kaplan et al. 2020, Scaling laws for
# neural language models, section 2.1
PASSES = 3
SHORT = 200  # characters of the task's own instruction, up to which it is repeated in each turn of worked examples
SAMPLED = 4  # dev problems that a prompt's tokens are counted on
TIMED_ROWS = 12


@dataclass(frozen=True)
class Prompt:
    """One way to ask: `instruction` before the problem, and `k` worked examples: "none", "fixed" (the draw `draw`) or
    "nearest" to the problem, as earlier turns or as text in the same turn.
    """

    instruction: str = ""
    chosen: str = "none"
    k: int = 0
    draw: int = 0
    form: str = "turns"

    def words(self) -> str:
        """For a table: 4 nearest examples as turns, instruction "Say it"."""
        examples = f"{self.k} {self.chosen} examples as {self.form}" if self.k else "no examples"
        drawn = f" (draw {self.draw})" if self.chosen == "fixed" else ""
        text = f'instruction "{self.instruction}"' if self.instruction else "no instruction"
        return f"{examples}{drawn}, {text}"

    def asked(self, rows: list[dict], problems: Benchmark, seed: int) -> tuple[dict, list | dict]:
        """The fields of the protocol that it sets, and the examples to show, out of the training `rows`."""
        rows = with_text(rows)
        if self.chosen == "nearest":
            shown = prompts.nearest_examples(rows, problems, self.k)
        else:
            shown = prompts.fixed_examples(rows, self.k, seed + self.draw)
        if self.k and self.form == "text":
            pairs = [f"Input: {row['prompt']}\nOutput: {row['completion']}" for row in shown]
            text = "\n\n".join(
                [*([self.instruction] if self.instruction else []), "Examples:", *pairs, "Now the input:"]
            )
            return {"prompt_style": "chat", "instruction": text}, []
        return {"prompt_style": "few_shot" if self.k else "chat", "instruction": self.instruction}, shown


@dataclass(frozen=True)
class Budget:
    """Computing of a search, as a share of that of `epochs` over the training rows; 0 is no search."""

    share: float = 0.05
    epochs: float = 1.0


@dataclass(frozen=True)
class Search:
    """What a search left: the prompt that it chose (None: none was tried), a row for every prompt that was tried, the
    size of the grid, the `share` of a training's computing that was given, and its seconds beside the `forecast` of a
    training (None: not known).
    """

    prompt: Prompt | None = None
    rows: list[dict] = field(default_factory=list)
    grid: int = 0
    seconds: float = 0.0
    share: float = 0.0
    forecast: float | None = None
    why: str = ""

    def line(self) -> str:
        """One sentence for the notebook and the page."""
        if self.prompt is None:
            return f"no prompt was searched: {self.why}"
        best, training = self.rows[0], "what a training would take is not known for this model"
        if self.forecast is not None:
            training = f"a training is forecast to take about {self.forecast:.0f} s"
        if len(self.rows) < self.grid:
            training += "; a longer search may find a better prompt"
        return (
            f"{len(self.rows)} of {self.grid} prompts were tried on dev in {self.seconds:.0f} s, with at most"
            f" {100 * self.share:.3g}% of a training's computing ({training});"
            f" chosen, with {best['k']}/{best['n']} on dev: {self.prompt.words()}"
        )

    def record(self) -> dict:
        """Seconds and counts for the stage's costs, which no hash covers."""
        return {"seconds": self.seconds, "share": self.share, "forecast": self.forecast, "line": self.line()} | {
            "tried": len(self.rows),
            "grid": self.grid,
        }


def search_prompts(
    engine, dev_problems: list[dict], rows: list[dict], asking: Asking, budget: Budget, context
) -> Search:
    """Searches prompts on the dev problems within `budget`. `rows` are training rows, out of which examples come.

    The first prompt is always tried, so a tiny budget passes through. The grid's order comes from the seed.
    """
    why = "search_share is 0" if not budget.share else "there are no dev problems to choose on" * (not dev_problems)
    if why:
        return Search(why=why)
    started = time.perf_counter()
    forecast, tokens = forecast_training(engine, rows, budget.epochs, asking.thinking)
    rows = with_text(rows)
    grid = grid_of(asking.instruction, fitting(engine, dev_problems, rows, asking), asking.seed)
    asker = Asker(engine, dev_problems, rows, asking, context)
    costs = [asker.tokens(prompt) for prompt in grid]
    ask = lambda number, positions: asker.ask(grid[number], positions)  # noqa: E731
    best, trail = halve(costs, len(dev_problems), ask, budget.share * tokens)
    tried = [
        {"prompt": grid[row["number"]].words(), **{key: row[key] for key in ("k", "n", "seconds")}} for row in trail
    ]
    return Search(grid[best], tried, len(grid), time.perf_counter() - started, budget.share, forecast)


def with_text(rows: list[dict]) -> list[dict]:
    """The rows whose answer is text, which an example can show: not those that call a tool alone."""
    return [row for row in rows if row["completion"][-1]["content"]]


def grid_of(instruction: str, counts: tuple[int, ...], seed: int) -> list[Prompt]:
    """Every prompt of the grid: the task's own instruction and few examples first, the others in an order drawn by
    `seed`, so that a search that ends early has looked everywhere.
    """
    own = [instruction] if instruction else []
    wordings = [*own, "", *WORDINGS]
    grid = [Prompt(text) for text in wordings if text]
    in_turns = [text for text in wordings if len(text) <= SHORT]
    for k in counts:
        grid += [Prompt(text, "nearest", k) for text in in_turns]
        for draw in range(DRAWS):
            grid += [Prompt(text, "fixed", k, draw) for text in in_turns]
            grid += [Prompt(text, "fixed", k, draw, "text") for text in wordings]
    few = max((k for k in counts if k <= 4), default=0)
    first = [Prompt(in_turns[0], kind, few) for kind in ("nearest", "fixed")] if few else []
    first += [Prompt(text) for text in own]
    rest = [prompt for prompt in grid if prompt not in first]
    random.Random(seed).shuffle(rest)
    return first + rest


def halve(
    costs: list[float], n_problems: int, ask: Callable[[int, range], list[bool]], budget: float
) -> tuple[int, list[dict]]:
    """Successive halving over prompts whose answers cost `costs` each, within `budget`, but one prompt's first round at
    least: the number of the chosen prompt, and a row `number, k, n, seconds` for each that was tried, the chosen one
    first.

    `ask(number, positions)` says which of these problems a prompt solves. Each round keeps the better half, at equal
    scores the cheaper ones, and asks it twice the problems. The best of the last two or three is chosen. The first
    prompts of the grid take part, as many as the budget is enough for at their mean cost.
    """
    means = [sum(costs[:n]) / n for n in range(1, len(costs) + 1)]
    fitting = [n for n, mean in enumerate(means, start=1) if mean * answers_of(n, n_problems) <= budget]
    alive = [{"number": number, "k": 0, "n": 0, "seconds": 0.0} for number in range(max(fitting, default=1))]
    tried = alive
    for kept, size in rounds_of(len(alive), n_problems):
        alive = alive[:kept]
        for row in alive:
            begun = time.perf_counter()
            row["k"] += sum(ask(row["number"], range(row["n"], size)))
            row["n"], row["seconds"] = size, row["seconds"] + time.perf_counter() - begun
        alive = sorted(alive, key=lambda row: (-row["k"], costs[row["number"]], row["number"]))
    best = alive[0]
    return best["number"], sorted(tried, key=lambda row: (row is not best, -row["n"], -row["k"]))


def rounds_of(n_prompts: int, n_problems: int) -> list[tuple[int, int]]:
    """For each round the prompts that take part and the problems that each has been asked at its end.

    >>> rounds_of(5, 20)
    [(5, 8), (2, 16)]
    """
    rounds = [(n_prompts, min(FIRST, n_problems))]
    while rounds[-1][0] > 3 and rounds[-1][1] < n_problems:
        prompts_left, size = rounds[-1]
        rounds.append((prompts_left // 2, min(2 * size, n_problems)))
    return rounds


def answers_of(n_prompts: int, n_problems: int) -> int:
    """Answers that a search over `n_prompts` takes."""
    rounds = rounds_of(n_prompts, n_problems)
    return sum(kept * (size - before) for (kept, size), (_, before) in zip(rounds, [(0, 0), *rounds]))


class Asker:
    """Asks prompts some of the dev problems, greedily."""

    def __init__(self, engine, dev_problems: list[dict], rows: list[dict], asking: Asking, context):
        self.engine, self.problems, self.rows, self.asking, self.context = engine, dev_problems, rows, asking, context
        dev = from_problems("dev", dev_problems, source="dev_problems.jsonl")
        self.nearest = prompts.nearest_examples(rows, dev, max(EXAMPLES)) if rows else {}

    def asked(self, prompt: Prompt, positions: range) -> tuple[Benchmark, dict, list | dict]:
        """The dev problems at `positions`, the fields of the protocol, and the examples to show."""
        part = from_problems("dev", [self.problems[at] for at in positions], source="dev_problems.jsonl")
        if prompt.chosen != "nearest":
            return part, *prompt.asked(self.rows, part, self.asking.seed)
        shown = {task: self.nearest[task][-prompt.k :] for task in part.task_ids()}
        return part, {"prompt_style": "few_shot", "instruction": prompt.instruction}, shown

    def tokens(self, prompt: Prompt) -> float:
        """Tokens that an answer takes at most: those of the prompt that the problems do not share, and the answer's."""
        part, fields, shown = self.asked(prompt, range(min(SAMPLED, len(self.problems))))
        style, text = fields["prompt_style"], fields["instruction"]
        encoded = []
        for problem in part.problems:
            examples = shown[problem["task_id"]] if isinstance(shown, dict) else shown
            asked = prompts.messages(problem, style, text, examples)
            encoded.append(self.engine.encode(asked, self.asking.thinking))
        own = sum(map(len, encoded)) / len(encoded) - len(common_prefix(encoded))
        return own + self.asking.max_new_tokens

    def ask(self, prompt: Prompt, positions: range) -> list[bool]:
        """Which of the problems at `positions` the prompt solves."""
        part, changed, shown = self.asked(prompt, positions)
        fields = self.asking.choice_fields() | changed
        consent = fields.pop("allow_unisolated")
        with tempfile.TemporaryDirectory() as folder:
            place, protocol = Path(folder) / "completions.jsonl", Protocol(part.sha256, **fields)
            done = completions.complete(self.engine, part, protocol, place, shown, self.context.progress)
        protocol = done["protocol"]
        reading = Reading(protocol.answer_reading, protocol.code_block)
        judging = Judging(None, consent, reading, protocol.cpu_seconds)
        return [row["passed"] for row in judge_completions(part, done["rows"], judging)]


def fitting(engine, dev_problems: list[dict], rows: list[dict], asking: Asking) -> tuple[int, ...]:
    """How many examples a prompt may show so that the longest one fits into the model's context; () without rows."""
    texts = [f"{row['prompt']}\n{row['completion']}" for row in prompts.examples_from(rows)]
    asked = [f"{asking.instruction or max(WORDINGS, key=len)}\n{problem['prompt']}" for problem in dev_problems]
    # the longest by letters, and room for the template's marks around each turn
    tokens = [len(engine.tokenizer(max(part, key=len, default=""))["input_ids"]) + 16 for part in (texts, asked)]
    return tuple(
        k
        for k in EXAMPLES
        if k <= len(rows) and (k + 1) * (tokens[0] + tokens[1]) + asking.max_new_tokens <= engine.limit
    )


def forecast_training(engine, rows: list[dict], epochs: float, thinking: str) -> tuple[float | None, float]:
    """Seconds and passed tokens that supervised training on `rows` takes, about: those of a forward pass over a few
    rows, three times, for all rows and epochs. The seconds are None for an engine whose model torch cannot train. What
    02 adds (texts of the base model's own, measurements on the way) is in neither.
    """
    seconds, lengths, some = [], [], pick(rows, TIMED_ROWS, 0, lambda row: str(row["prompt"]))
    for row in [*some[:1], *some]:  # the first pass warms up
        answer = engine.tokenizer(row["completion"][-1]["content"] or "")["input_ids"]
        ids = [*engine.encode(row["prompt"], thinking), *answer]
        lengths.append(len(ids))
        seconds.append(_forward(engine, ids))
    tokens = PASSES * epochs * len(rows) * sum(lengths[1:]) / max(1, len(some))
    if not some or None in seconds:
        return None, tokens
    return tokens * sum(seconds[1:]) / sum(lengths[1:]), tokens


def _forward(engine, ids: list[int]) -> float | None:
    """Seconds of one forward pass; None where the engine has no torch model."""
    import torch

    model, started = getattr(engine, "model", None), time.perf_counter()
    if not isinstance(model, torch.nn.Module):
        return None
    with torch.inference_mode():
        model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -1, 0].item()
    return time.perf_counter() - started
