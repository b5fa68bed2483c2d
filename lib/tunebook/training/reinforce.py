"""Reinforcement by a verifier: the judge of `tunebook score` is the reward, the kit's generator samples, and problems
that are never rewarded tell whether the reward still means what it should.

TRL's GRPOTrainer and RLOOTrainer compute advantages, loss and step. Source: Shao et al. 2024, DeepSeekMath (GRPO);
Ahmadian et al. 2024, Back to basics (RLOO).
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import TrainerCallback

from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.prompts import messages
from tunebook.evaluation.protocol import Asking, Protocol, filled_in
from tunebook.evaluation.readiness import Judging, canonical_source, check_runner, make_program
from tunebook.evaluation.reply import Reading, opened_thought
from tunebook.evaluation.score import judge_completions
from tunebook.models.engine import TAIL_TOKENS, Decoding, TransformersEngine
from tunebook.models.generate import generate
from tunebook.models.templates import ends_of
from tunebook.statistics.intervals import CONFIDENCE, mean_interval
from tunebook.statistics.paired import clustered_interval
from tunebook.training.settings import even_steps

TABLE_PROBLEMS = 8  # problems on which each cheating policy is tried


class Verifier:
    """`problems` (a benchmark's rows), asked and judged as `asking` says, as a reward: 1 for an answer that passes, 0
    for any other. A few-shot style is asked without its examples.

    `ids` maps a prompt, as the model reads it, to its token ids. InputProblem for problems that cannot be asked.
    """

    def __init__(self, name: str, problems: Sequence[dict], tokenizer, asking: Asking):
        if not problems:
            raise InputProblem(f"there is no {name} problem: 08 needs training rows with prompts, and problems of dev")
        self.benchmark = from_problems(name, [dict(problem) for problem in problems], source=name)
        fields = asking.choice_fields()
        allowed = fields.pop("allow_unisolated")
        how = filled_in(Protocol(self.benchmark.sha256, **fields), self.benchmark)
        self.judging = Judging(None, allowed, Reading(how.answer_reading, how.code_block), how.cpu_seconds)
        self.engine, self.ends = TransformersEngine(None, tokenizer), ends_of(tokenizer)
        self.ids, self._texts = {}, {}
        for problem in self.benchmark.problems:
            asked = messages(problem, how.prompt_style, how.instruction)
            ids = self.engine.encode(asked, how.thinking, problem.get("tools"))
            self._texts[problem["task_id"]] = self.engine.decode(ids)
            self.ids[self._texts[problem["task_id"]]] = ids

    def __len__(self) -> int:
        return len(self.benchmark)

    def dataset(self):
        """A `datasets.Dataset` of `prompt` (the text that the model reads) and `task_id`, one row a problem."""
        from datasets import Dataset

        return Dataset.from_list([{"prompt": text, "task_id": name} for name, text in self._texts.items()])

    def reward(self, prompts, completions, completion_ids, task_id, **columns) -> list[float]:
        """The reward as TRL asks for it: one number a completion."""
        return [float(passed) for passed in self.passed(task_id, completion_ids)]

    def passed(self, task_ids: Sequence[str], answers: Sequence[list[int]]) -> list[bool]:
        """Whether each answer (token ids, with the token that ended it) solves its problem, by the judge."""
        rows, places = {}, []
        for name, ids in zip(task_ids, answers, strict=True):
            has_end = bool(ids) and ids[-1] in self.ends
            text = self.engine.decode(ids[:-1] if has_end else ids)
            row = {"completion": text, "n_tokens": len(ids), "finish_reason": "stop" if has_end else "length"}
            opened = opened_thought(self.engine.decode(self.ids[self._texts[name]][-TAIL_TOKENS:]))
            row |= {"task_id": name, "sample": len(rows)} | ({"opened": opened} if opened else {})
            key = (name, text, has_end)  # equal answers are judged once
            places.append(rows.setdefault(key, row)["sample"])
        judged = judge_completions(self.benchmark, list(rows.values()), self.judging)
        return [judged[place]["passed"] for place in places]

    def sample(self, model, how: Sealing, most: int | None = None) -> dict[str, list[list[int]]]:
        """The answers of `model` to each of the first `most` problems, by task_id, as token ids."""
        samples, names = how.samples, [name for name in list(self._texts)[:most] for _ in range(how.samples)]
        answers = answers_of(model, [self.ids[self._texts[name]] for name in names], self.ends, how.decoding, how.slots)
        return {name: answers[at : at + samples] for at, name in enumerate(names) if at % samples == 0}

    def check(self) -> dict:
        """`readiness.check_runner` on these problems, before anything is rewarded."""
        return check_runner(self.benchmark, self.judging)

    def cheats(self) -> list[dict]:
        """What policies that do not solve the task earn on the first problems, beside one that does: rows `policy,
        reward` (the mean), `verdicts`. InputProblem where no problem has a solution to compare with.
        """
        from tunebook.execution.selfcheck import cheating_sources

        solved = [problem for problem in self.benchmark.problems if problem["canonical_solution"].strip()]
        if not solved:
            raise InputProblem(f"{self.benchmark.source}: no problem has a canonical_solution to compare cheats with")
        sources: dict[str, list] = {}
        for at, problem in enumerate(solved[:TABLE_PROBLEMS]):
            right = canonical_source(problem)
            known = {"solves the problem": right} | cheating_sources(problem["entry_point"], right)
            for number, (policy, source) in enumerate(known.items()):
                sources.setdefault(policy, []).append(make_program(problem, at * len(known) + number, source))
        outcomes = iter(self.judging.run([program for part in sources.values() for program in part]))
        rows = []
        for policy, programs in sources.items():
            part = [next(outcomes) for _ in programs]
            verdicts = ", ".join(dict.fromkeys(outcome.verdict for outcome in part))
            reward = sum(outcome.passed is True for outcome in part) / len(part)
            rows.append({"policy": policy, "reward": reward, "n": len(part), "verdicts": verdicts})
        return rows


def answers_of(model, prompts: list[list[int]], ends: Sequence[int], decoding: Decoding, slots: int) -> list[list[int]]:
    """An answer to each prompt as token ids, with the end token that was drawn, by the kit's generator. `model` is left
    in the mode in which it was.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    mode, answers = inner.training, [[] for _ in prompts]
    for done in generate(inner, prompts, set(ends), decoding, slots):
        answers[done.index] = done.ids + ([] if done.end is None else [done.end])
    inner.train(mode)
    return answers


def use_own_sampler(trainer, verifier: Verifier, slots: int) -> None:
    """Lets a GRPOTrainer or RLOOTrainer of `verifier`'s dataset sample by the kit's generator, and read the prompts as
    `04` asks them.

    In place of transformers' `generate`, which goes on in lock-step until the last answer has ended. What is drawn
    follows from the seed and the step, so that a training that goes on draws what an unbroken one draws.
    """
    from trl import GRPOTrainer

    has_logps = isinstance(trainer, GRPOTrainer)  # it takes the sampler's own log-probabilities, or None
    trainer.eos_token_ids = sorted(verifier.ends)

    def tokenize(self, prompts):
        return [verifier.ids[text] for text in prompts], None, {}

    def draw(self, prompt_ids, *args, **kwargs):
        seed = self.args.seed * 1_000_003 + self.state.global_step
        decoding = Decoding(self.max_completion_length, self.temperature, self.top_p, seed)
        model = self.accelerator.unwrap_model(self.model)
        answers = answers_of(model, prompt_ids, self.eos_token_ids, decoding, slots)
        return (answers, None) if has_logps else answers

    trainer._tokenize_prompts = types.MethodType(tokenize, trainer)
    trainer._generate_single_turn = types.MethodType(draw, trainer)


def leave_out_equal_answers(trainer) -> None:
    """Lets a GRPOTrainer or RLOOTrainer compute only the answers of a step that teach: where all answers to a problem
    earned the same, their advantages are zero, and so are their gradients.

    Those that teach come first, in the order of their lengths, and a pass has no column that only pads; the step stays
    the same (with the loss `bnpo`, which weighs by pass, but for the grouping). Entropy is then of the passes that were
    computed. Nothing changes where each answer pays a distance to the start, a router has a loss, or processes share a
    step.
    """
    from trl.trainer.utils import split_tensor_dict

    if trainer.beta or trainer.aux_loss_enabled or trainer.accelerator.num_processes > 1:
        return
    prepare, score = trainer._prepare_inputs, trainer._compute_loss

    def ordered(self, batch):
        known, inputs = self._buffered_inputs, prepare(batch)
        parts = self._buffered_inputs
        if not self.model.training or parts is known:
            return inputs
        lengths = torch.cat([part["completion_mask"].sum(1) for part in parts])
        teaches = torch.cat([part["advantages"] for part in parts]) != 0
        order = (lengths + ~teaches * lengths.max()).argsort(stable=True)
        joined = {
            key: value if value is None or not value.ndim else torch.cat([part[key] for part in parts])[order]
            for key, value in parts[0].items()
        }
        self._buffered_inputs = split_tensor_dict(joined, len(parts))
        return self._buffered_inputs[self._step % len(parts)]

    def taught(self, model, inputs):
        if inputs["advantages"].any():
            return score(model, _narrowed(inputs))
        return 0.0 * sum(weights.sum() for weights in model.parameters() if weights.requires_grad)

    trainer._prepare_inputs = types.MethodType(ordered, trainer)
    trainer._compute_loss = types.MethodType(taught, trainer)


def _narrowed(inputs: dict) -> dict:
    """A pass without the columns that pad every row of it."""
    width = inputs["completion_ids"].shape[1]
    read, said = (max(1, int(inputs[f"{part}_mask"].sum(1).max())) for part in ("prompt", "completion"))
    found = dict(inputs)
    for key, value in inputs.items():
        if key in ("prompt_ids", "prompt_mask"):
            found[key] = value[:, -read:]
        elif isinstance(value, torch.Tensor) and value.ndim == 2 and value.shape[1] == width:
            found[key] = value[:, :said]
    return found


@dataclass(frozen=True)
class Sealing:
    """How reward and truth are compared: at `points` even distances, by `samples` answers to each problem, drawn as
    the trainer draws them.
    """

    points: int
    samples: int
    decoding: Decoding
    slots: int = 64


class SealedSet(TrainerCallback):
    """The reward on `rewarded` problems against the truth on `sealed` ones, which are never rewarded, at even
    distances; stops the training when they part.

    Of the rewarded problems as many are asked as there are sealed ones. `reward` is what the trainer is rewarded by
    (None: the verifier of `rewarded`); the truth is always the judge.
    `points`: a dict a point, the first before step 1: `step`, `reward`, `truth` (shares), `gain` of the truth and `gap`
    between both gains, in points with their intervals. Every look is one of `points`, so each interval of the gap is
    at 1 - 0.05 / points.
    """

    def __init__(self, rewarded: Verifier, sealed: Verifier, how: Sealing, reward: Callable | None = None):
        self.rewarded, self.sealed, self.how = rewarded, sealed, how
        self.reward, self.points, self.parted = reward or rewarded.reward, [], ""

    def look(self, model, step: int) -> dict:
        """One point; the first of all is the start."""
        reward = self._rates(model, self.rewarded, self.reward)
        truth = self._rates(model, self.sealed, self.sealed.reward)
        values = list(truth.values())
        low, high = mean_interval(values, samples=self.how.samples)
        mixed = sum(0 < rate < 1 for rate in reward.values()) / len(reward)
        point = {"step": step, "reward": fmean(reward.values()), "truth": fmean(values), "truth_interval": [low, high]}
        point |= {"mixed": mixed, "rates": [list(reward.values()), values]}
        first = self.points[0]["rates"] if self.points else point["rates"]
        changes = [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(first, point["rates"], strict=True)]
        point |= {"gain": 100 * fmean(changes[1]), "gain_interval": _in_points(clustered_interval(changes[1]))}
        gap, interval = gap_of(*changes, confidence=1 - (1 - CONFIDENCE) / max(1, self.how.points))
        point |= {"gap": gap, "gap_interval": interval}
        self.points.append(point)
        return point

    def _rates(self, model, verifier: Verifier, reward: Callable) -> dict[str, float]:
        answers = verifier.sample(model, self.how, len(self.sealed))
        names = [name for name, part in answers.items() for _ in part]
        ids = [one for part in answers.values() for one in part]
        texts = [verifier.engine.decode(one) for one in ids]
        prompts = [verifier._texts[name] for name in names]
        values = reward(prompts=prompts, completions=texts, completion_ids=ids, task_id=names)
        size = self.how.samples
        return {name: fmean(values[at * size : (at + 1) * size]) for at, name in enumerate(answers)}

    def on_train_begin(self, args, state, control, **kwargs):
        """Takes up the points of a training that goes on."""
        kept = [row["sealed"] for row in state.log_history if "sealed" in row]
        self.points = self.points[:1] + kept

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Looks where a point is due, and stops the training where reward and truth have parted."""
        if state.global_step not in even_steps(state.max_steps, self.how.points):
            return
        point = self.look(model, state.global_step)
        state.log_history.append({"step": state.global_step, "sealed": point})
        low, high = point["gap_interval"]
        if low > 0:
            self.parted = (
                f"step {point['step']}: the reward gained {point['gap']:.1f} points [{low:.1f}, {high:.1f}] more on"
                " rewarded problems than the truth on sealed ones: the policy learns the reward and not the task"
            )
            control.should_training_stop = True

    def table(self) -> list[dict]:
        """A row a point, for a reader, rounded."""
        rows = []
        for point in self.points:
            row = {"step": point["step"], **{key: round(point[key], 3) for key in ("reward", "truth", "mixed")}}
            row |= {key: round(point[key], 1) for key in ("gain", "gap")}
            row |= {f"{key}_interval": [round(end, 1) for end in point[f"{key}_interval"]] for key in ("gain", "gap")}
            rows.append(row)
        return rows


def gap_of(reward: Sequence[float], truth: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, list]:
    """The mean change of `reward` less that of `truth` (changes a problem, -1 to 1, of different problems), and its
    interval, in points.

    The intervals of both are joined by the method of variance estimates recovery. Source: Zou and Donner 2008,
    Construction of confidence limits about effect measures.

    >>> gap_of([1.0] * 50, [0.0] * 50)[0], gap_of([1.0] * 50, [0.0] * 50)[1][0] > 50
    (100.0, True)
    """
    (a, b), (low_a, high_a), (low_b, high_b) = (
        (fmean(reward), fmean(truth)),
        clustered_interval(reward, confidence),
        clustered_interval(truth, confidence),
    )
    below = math.hypot(max(0.0, a - low_a), max(0.0, high_b - b))
    above = math.hypot(max(0.0, high_a - a), max(0.0, b - low_b))
    return 100 * (a - b), _in_points((a - b - below, a - b + above))


def start_of(point: dict, span: Sequence[float]) -> dict:
    """Whether a start is worth reinforcing: `is_enough`, and `why`. `point` is the first of a SealedSet, `span` the
    percent of the problems that it should solve, from and to.

    >>> start_of({"truth": 0.91, "mixed": 0.1}, [20.0, 80.0])["is_enough"]
    False
    """
    low, high = span
    rate = 100 * point["truth"]
    said = (
        f"the start solves {rate:.0f}% of the sealed problems, {point['mixed']:.0%} of the rewarded ones now and then"
    )
    if rate > high:
        return {"is_enough": False, "why": f"{said}: above {high:g}% there is nothing to learn by reinforcement"}
    if rate < low:
        return {"is_enough": False, "why": f"{said}: below {low:g}% a right answer is too rare; train 02 for longer"}
    return {"is_enough": True, "why": said}


def _in_points(interval: Sequence[float]) -> list[float]:
    return [100 * end for end in interval]
