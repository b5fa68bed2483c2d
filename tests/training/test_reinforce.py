"""Reinforcement: what is sampled is what is trained, rewarded answers become likelier, cheats earn nothing, and a
reward that is not the truth ends the training.
"""

import random

import pytest
import torch
from peft import get_peft_model
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from execution.test_programs import FORGED, PROMPT, RIGHT, TEST
from test_resume import result
from tiny_models import tiny_llama, tokenizer
from tiny_training import SCHEDULES, lora, settings
from tunebook import tasks
from tunebook.data.study_data import problems_of
from tunebook.errors import InputProblem
from tunebook.evaluation.protocol import Asking
from tunebook.models.engine import Decoding
from tunebook.training.reinforce import (
    SealedSet,
    Sealing,
    Verifier,
    gap_of,
    leave_out_equal_answers,
    start_of,
    use_own_sampler,
)
from tunebook.training.resume import Checkpoints
from tunebook.training.short_forward import use_compact_head

ASKING = Asking(max_new_tokens=6)
CRON = "from tunebook.tasks.cron.check import check_answer\ndef check(answer):\n    check_answer(answer, {!r})\n"
PROBLEMS = [
    {"task_id": str(at), "prompt": text, "entry_point": "check", "canonical_solution": answer, "kind": "answer",
     "test": CRON.format(answer), "reading": "first_line"}
    for at, (text, answer) in enumerate(SCHEDULES)
]  # fmt: skip
DOUBLE = {"task_id": "double", "prompt": PROMPT, "entry_point": "double", "canonical_solution": "    return x + x\n",
          "test": TEST}  # fmt: skip


def easy(completion_ids, **columns):
    """A reward that is easily learned and has nothing to do with the task: on which side the first token lies."""
    side = SIDE or SIDE.append(tiny_llama().get_input_embeddings().weight[:, 0] > 0) or SIDE
    return [float(side[0][ids[0]]) for ids in completion_ids]


SIDE: list = []


def trainer_of(folder, verifier, kind="grpo", reward=easy, **changes):
    torch.manual_seed(0)
    Config, Trainer = (RLOOConfig, RLOOTrainer) if kind == "rloo" else (GRPOConfig, GRPOTrainer)
    how = {"num_generations": 4, "max_completion_length": 3, "gradient_accumulation_steps": 4, "beta": 0.0}
    how |= {"per_device_train_batch_size": 4, "max_steps": 6, "learning_rate": 2e-2} | changes
    trainer = Trainer(
        model=get_peft_model(tiny_llama(), lora()),
        reward_funcs=[reward],
        args=Config(**settings(folder, **how), temperature=0.3, shuffle_dataset=False),
        train_dataset=verifier.dataset(),
        processing_class=verifier.engine.tokenizer,
    )
    use_own_sampler(trainer, verifier, 8)
    assert use_compact_head(trainer)
    return trainer


@pytest.fixture(scope="module")
def verifier():
    return Verifier("schedules", PROBLEMS, tokenizer(), ASKING)


def test_what_is_trained_is_what_was_sampled_token_for_token(verifier, tmp_path, monkeypatch):
    drawn, trained = [], []
    trainer = trainer_of(tmp_path, verifier, max_steps=1)
    draw, score = trainer._generate_single_turn, trainer._compute_loss
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])

    def spy(model, inputs):
        for prompt, seen, ids, mask in zip(*(inputs[f"{part}_{key}"] for part in ("prompt", "completion")
                                             for key in ("ids", "mask")), strict=True):  # fmt: skip
            trained.append((prompt[seen.bool()].tolist(), ids[mask.bool()].tolist()))
        return score(model, inputs)

    monkeypatch.setattr(trainer, "_compute_loss", spy)
    trainer.train()
    (ids, logps), asked = drawn[0], list(verifier.ids.values())
    assert len(ids) == 16 and logps is None and len({tuple(one) for one in ids}) > 8
    assert sorted(answer for _, answer in trained) == sorted(ids)
    assert all(prompt in asked for prompt, _ in trained)


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_rewarded_answers_become_likelier_and_the_reward_rises(verifier, tmp_path, kind):
    """RLOO with a reference beside the policy: a second adapter, which does not sample."""
    trainer = trainer_of(tmp_path, verifier, kind, max_steps=8, beta=0.01 if kind == "rloo" else 0.0)
    trainer.train()
    rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    assert 0.2 < rewards[0] < 0.8 and sum(rewards[-3:]) / 3 > 0.8


@pytest.mark.parametrize("loss", ["grpo", "dapo", "dr_grpo", "cispo", "rloo"])
def test_answers_that_teach_nothing_cost_no_pass_and_change_no_step(verifier, tmp_path, monkeypatch, loss):
    def reward(task_id, **columns):  # every other problem is solved by every answer, the rest by every other one
        return [1.0 if int(name) % 2 else at % 2 for at, name in enumerate(task_id)]

    found, passes = [], []
    for leaves_out in (False, True):
        kind = {} if loss == "rloo" else {"loss_type": loss}
        trainer = trainer_of(tmp_path / str(leaves_out), verifier, loss, reward, max_steps=3, **kind)
        score, seen = trainer._get_per_token_logps_and_entropies, []

        def spy(*args, score=score, seen=seen, **kwargs):
            seen.append(torch.is_grad_enabled())
            return score(*args, **kwargs)

        monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", spy)
        if leaves_out:
            leave_out_equal_answers(trainer)
        trainer.train()
        found.append(result(trainer)[0])
        passes.append(sum(seen))
    assert passes == [12, 6]
    assert (found[0] - found[1]).abs().max() < 1e-4 * found[0].abs().max()


def test_a_step_in_which_no_answer_teaches_still_follows_its_momentum(verifier, tmp_path):
    found = []
    for leaves_out in (False, True):
        steps = iter([easy, *[lambda completion_ids, **columns: [1.0] * len(completion_ids)] * 2])

        def reward(steps=steps, **columns):
            return next(steps)(**columns)

        trainer = trainer_of(tmp_path / str(leaves_out), verifier, reward=reward, max_steps=3)
        if leaves_out:
            leave_out_equal_answers(trainer)
        trainer.train()
        found.append(result(trainer)[0])
    assert (found[0] - found[1]).abs().max() < 1e-3  # a step moves a weight by 2e-2


def test_a_reward_that_parts_from_the_truth_stops_the_training(verifier, tmp_path):
    many = [
        row | {"task_id": f"{row['task_id']}/{n}", "prompt": f"{row['prompt']} ({n})"}
        for row in PROBLEMS
        for n in "abcd"
    ]
    parts = [Verifier(name, many, tokenizer(), ASKING) for name in ("rewarded", "sealed")]
    trainer = trainer_of(tmp_path, parts[0], max_steps=16)
    sealed = SealedSet(*parts, Sealing(4, 2, Decoding(3, temperature=0.3)), reward=easy)
    sealed.look(trainer.model, 0)
    trainer.add_callback(sealed)
    trainer.train()
    last = sealed.points[-1]
    assert trainer.state.global_step < 16 and "learns the reward and not the task" in sealed.parted
    assert last["gap_interval"][0] > 0 and last["truth"] == 0.0 < last["reward"]
    assert [row["step"] for row in sealed.table()] == [0, *range(4, trainer.state.global_step + 1, 4)]


class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


def test_a_killed_training_draws_and_learns_what_an_unbroken_one_does(verifier, tmp_path):
    found = []
    for folder, callback in (("whole", None), ("killed", Kill()), ("killed", None)):
        trainer = trainer_of(tmp_path / folder, verifier, max_steps=3)
        saved = Checkpoints(trainer, tmp_path / folder / "resume", {}, 0.0)
        trainer.add_callback(callback) if callback else None
        try:
            trainer.train(resume_from_checkpoint=saved.last())
        except KeyboardInterrupt:
            continue
        found.append(
            (
                saved.resumed_from,
                result(trainer)[0],
                [row["reward"] for row in trainer.state.log_history if "loss" in row],
            )
        )
    assert [one[0] for one in found] == [0, 2] and found[0][2] == found[1][2]
    assert torch.equal(found[0][1], found[1][1])


def test_an_answer_earns_what_its_score_says_and_only_when_it_ended(verifier):
    spoken = verifier.engine.tokenizer
    right, wrong = (spoken(text)["input_ids"] for text in ("0 12 * * *", "0 13 * * *"))
    ended = [spoken.turn_end]
    assert verifier.reward([], [], [right + ended, wrong + ended, right + ended, ended], list("0011")) == [1, 0, 0, 0]
    answers = verifier.sample(tiny_llama(), Sealing(1, 3, Decoding(6, temperature=1.0)))
    assert list(answers) == [row["task_id"] for row in PROBLEMS] and {len(part) for part in answers.values()} == {3}


def test_hostile_programs_earn_nothing_and_the_right_one_does():
    """Each is what a policy could find to be cheaper than the task; those that wait for a limit are left out."""
    judge = Verifier("double", [DOUBLE], tokenizer(), ASKING)
    hostile = [source for source, verdicts in FORGED.values() if "wall_limit" not in verdicts]
    answers = [judge.engine.tokenizer(f"```python\n{source}\n```")["input_ids"] for source in [RIGHT, *hostile]]
    rewards = judge.reward([], [], answers, ["double"] * len(answers))
    assert len(hostile) > 20 and rewards == [1.0] + [0.0] * len(hostile)


@pytest.mark.parametrize("problems", [[DOUBLE], PROBLEMS])
def test_the_table_of_policies_pays_only_who_solves_the_problem(problems):
    first, *others = Verifier("table", problems, tokenizer(), ASKING).cheats()
    assert first["reward"] == 1.0 and first["n"] == len(problems) and "solves" in first["policy"]
    assert len(others) == 6 and {row["reward"] for row in others} == {0.0}


def test_a_start_that_solves_nearly_all_or_nothing_is_not_reinforced():
    found = [start_of({"truth": rate, "mixed": 0.1}, [20.0, 80.0]) for rate in (0.1, 0.5, 0.91)]
    assert [one["is_enough"] for one in found] == [False, True, False]
    assert "too rare" in found[0]["why"] and "91%" in found[2]["why"] and "nothing to learn" in found[2]["why"]


def test_the_gap_covers_no_difference_and_shows_a_large_one():
    rng = random.Random(0)
    covered = 0
    for _ in range(400):
        changes = [[rng.choice((-1.0, 0.0, 0.0, 1.0)) for _ in range(40)] for _ in range(2)]
        low, high = gap_of(*changes)[1]
        covered += low <= 0 <= high
    assert covered >= 372
    assert gap_of([1.0, 0.0] * 30, [0.0] * 60)[1][0] > 20


def test_problems_of_rows_are_those_that_a_study_makes():
    rows = tasks.load("order_number").make_rows(4, seed=1)
    assert [row["canonical_solution"] for row in problems_of("order_number", rows)] == [
        row["completion"][0]["content"] for row in rows
    ]
    with pytest.raises(InputProblem, match="no tests of its own"):
        problems_of("python_functions", rows)
