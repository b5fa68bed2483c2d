"""Preferences are trained as what they are: the user's pairs and labels, sampled answers, each method with its own
settings.
"""

import json
from contextlib import contextmanager

import pytest
from datasets import Dataset

from tiny_training import LABELS, PAIRS, ROWS, dpo, kto, settings
from tunebook.errors import InputProblem
from tunebook.models.engine import Decoding, Generated
from tunebook.training.dataset import use_own_tokens
from tunebook.training.preferences import (
    METHODS,
    Preferences,
    choose_method,
    hold_out,
    label_weights,
    own_preferences,
    rank_pairs,
    ranking,
    rows_for,
    sampled_preferences,
    wants_samples,
)
from tunebook.training.sampling import PROBED, Sampling, sample_preferences

USERS = [pair | {"completion": pair["chosen"], "record": at} for at, pair in enumerate(PAIRS)]


def test_own_pairs_and_labels_are_found_and_rows_without_either_are_none():
    found = own_preferences([*USERS, *LABELS, *ROWS])
    assert found.pairs == PAIRS and found.labels == LABELS
    assert found.describe() == "8 pairs and 8 answers labelled right and 8 labelled wrong"
    assert len(own_preferences(ROWS)) == 0


def test_pairs_of_dev_are_held_out_else_a_tenth_by_prompt():
    own = own_preferences(USERS[:6])
    train, out = hold_out(own, USERS[6:], 0)
    assert train is own and out.pairs == PAIRS[6:]
    many = Preferences([PAIRS[at % 8] | {"prompt": [{"role": "user", "content": str(at // 2)}]} for at in range(80)])
    train, out = hold_out(many, [], 0)
    asked = [{str(row["prompt"]) for row in part.pairs} for part in (train, out)]
    assert len(out) == 8 and len(train) == 72 and not asked[0] & asked[1], "both pairs of a prompt lie on one side"


def test_every_sampled_answer_is_labelled_and_pairs_need_both_kinds():
    samples = [["a", "b", "b"], ["a", "a", "a"], ["b", "b", "b"]]
    found = sampled_preferences(ROWS[:3], samples, lambda row, text: text == "a")
    assert [row["label"] for row in found.labels] == [True, False, False, True, True, True, False, False, False]
    assert [(p["chosen"][0]["content"], p["rejected"][0]["content"]) for p in found.pairs] == [("a", "b")]


VALUES = (1, "one", None, [1], {"of": 1}, 0.5, True, "")


@pytest.mark.parametrize("is_paired", [True, False])
def test_arguments_of_every_type_are_trained_as_the_row_has_them(tmp_path, is_paired):
    """One tool was called with a number and another with a text: Arrow has one type for both."""
    tools = [{"type": "function", "function": {"name": "set", "parameters": {}}}]

    def said(value):
        call = {"type": "function", "function": {"name": "set", "arguments": {"to": value}}}
        return [{"role": "assistant", "content": "", "tool_calls": [call]}]

    rows = [
        {"prompt": ROWS[0]["prompt"], "tools": tools}
        | ({"chosen": said(one), "rejected": said("no")} if is_paired else {"completion": said(one), "label": n < 4})
        for n, one in enumerate(VALUES)
    ]
    trainer = (dpo if is_paired else kto)(tmp_path, False, rows, "chatml_tools", max_length=192)
    use_own_tokens(trainer, rows)
    trainer.train()
    key = "chosen_ids" if is_paired else "completion_ids"
    texts = {trainer.processing_class.decode(row[key]) for row in trainer.train_dataset}
    assert all(any(f'"to": {json.dumps(value)}}}' in text for text in texts) for value in VALUES)


def test_tools_stay_with_what_is_asked():
    """The policy was asked and trained on another prompt than SFT's and 04's."""
    tools = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
    row = ROWS[0] | {"tools": tools}
    found = sampled_preferences([row], [["a", "b"]], lambda row, text: text == "a")
    own = Preferences([PAIRS[0] | {"tools": tools}], [label | {"tools": tools} for label in LABELS[:2]])
    for method in ("dpo", "kto"):
        assert all(made["tools"] == tools for made in rows_for(METHODS[method], own, found, 8, 0))


class Answers:
    """A base model whose prompts are numbers: even ones are answered "a" and "b", odd ones "a" alone."""

    asked: list[int]

    @contextmanager
    def engine(self, adapter):
        self.asked = []
        yield self

    def encode(self, prompt, tools=None):
        return [int(prompt[0]["content"])]

    def decode(self, ids):
        return "ab"[ids[0]]

    def generate(self, prompts, decoding, only):
        for at in only:
            self.asked.append(prompts[at][0])
            yield Generated(at, [at % 2 if prompts[at][0] % 2 == 0 else 0], "stop")


@pytest.mark.parametrize(("n", "least", "n_asked", "n_pairs"), [
    (200, 100, 200, 100), (200, 101, PROBED, 0), (200, 0, 200, 100), (PROBED, 32, PROBED, 32),
])  # fmt: skip
def test_a_probe_that_promises_too_few_pairs_ends_the_sampling(n, least, n_asked, n_pairs):
    rows, base = [{"prompt": [{"role": "user", "content": str(at)}]} for at in range(n)], Answers()
    how = Sampling(2, Decoding(1, 1.0), lambda row, text: text == "a", least)
    found, promise = sample_preferences(base, None, rows, how, lambda *a: None)
    assert len(set(base.asked)) == n_asked and len(found.pairs) == n_pairs
    assert promise["is_enough"] is (n_pairs > 0) and promise["expected"] == n // 2 and promise["prompts"] == n
    assert len(found.labels) == (2 * n if n_pairs else 0), "every prompt is labelled once, the probe's too"


@pytest.mark.parametrize(
    ("source", "has_own", "wanted"),
    [("auto", True, False), ("auto", False, True), ("both", True, True), ("sampled", True, True), ("own", True, False)],
)
def test_the_model_answers_only_where_its_answers_are_wanted(source, has_own, wanted):
    assert wants_samples(METHODS["dpo"], source, Preferences(PAIRS if has_own else [])) is wanted


def test_own_preferences_that_are_not_there_are_one_sentence():
    with pytest.raises(InputProblem, match="neither `rejected` nor `label`"):
        wants_samples(METHODS["dpo"], "own", Preferences())
    with pytest.raises(InputProblem, match="did you mean 'kto'"):
        choose_method("kt")
    none = choose_method("none")
    assert (
        not wants_samples(none, "auto", Preferences()) and rows_for(none, Preferences(PAIRS), Preferences(), 4, 0) == []
    )


def test_each_method_takes_the_rows_that_it_can_use():
    own, sampled = Preferences(PAIRS[:2], LABELS[4:10]), Preferences(PAIRS[2:3], LABELS[10:])
    paired = rows_for(METHODS["dpo"], own, sampled, 4, 0)
    assert len(paired) == 2 + 3 + 1, "own pairs, pairs of labels of one prompt, sampled pairs"
    labelled = rows_for(METHODS["kto"], own, sampled, 8, 0)
    assert len(labelled) == 4 + 6 + 6 and {row["label"] for row in labelled} == {True, False}
    assert len(rows_for(METHODS["kto"], own, sampled, 5, 0)) == 15, "a last batch of one row would be its own neighbour"
    assert labelled != sorted(labelled, key=lambda row: row["label"]), "shuffled"
    with pytest.raises(InputProblem, match="use preference: kto"):
        rows_for(METHODS["rpo"], Preferences(labels=LABELS[:1]), Preferences(), 4, 0)
    with pytest.raises(InputProblem, match="use 2 or more"):
        rows_for(METHODS["kto"], own, sampled, 1, 0)


def test_both_labels_weigh_the_same_in_sum():
    rows = [{"label": True}] * 91 + [{"label": False}] * 9
    weights = label_weights(rows)
    assert weights["undesirable_weight"] * 9 == pytest.approx(weights["desirable_weight"] * 91, rel=1e-3)
    with pytest.raises(InputProblem, match="both labels, found 2 right and 0 wrong"):
        label_weights([{"label": True}] * 2)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "none"])
def test_each_method_raises_the_chosen_answers_over_the_rejected_ones(tmp_path, name):
    """A method whose settings are wrong trains without an error and learns nothing, or the contrary."""
    told = choose_method(name, learning_rate=3e-3).settings(LABELS)
    build = dpo if METHODS[name].is_paired else kto
    trainer = build(tmp_path, True, max_steps=8, per_device_train_batch_size=8, **told)
    tokenizer = trainer.processing_class
    before = rank_pairs(trainer.model, tokenizer, PAIRS, 96)
    trainer.train()
    found = ranking(before, rank_pairs(trainer.model, tokenizer, PAIRS, 96))
    assert found["n"] == 8 and found["accuracy"] == 1.0 and found["margin"] > 1.0
    assert found["ranked_after"] >= found["ranked_before"]


def test_rpo_holds_the_chosen_answers_up(tmp_path):
    """DPO alone lets the likelihood of both answers fall; the likelihood of the chosen one is what RPO adds."""
    gains = {}
    for name in ("dpo", "rpo"):
        trainer = dpo(tmp_path / name, True, max_steps=8, **choose_method(name, learning_rate=3e-3).settings())
        before = rank_pairs(trainer.model, trainer.processing_class, PAIRS, 96)
        trainer.train()
        after = rank_pairs(trainer.model, trainer.processing_class, PAIRS, 96)
        gains[name] = sum(a[0] - b[0] for a, b in zip(after, before, strict=True))
    assert gains["rpo"] > gains["dpo"]


def test_the_settings_are_those_that_trl_takes(tmp_path):
    from trl import DPOConfig, KTOConfig

    for method in METHODS.values():
        given = {key: value for key, value in settings(tmp_path).items() if key != "learning_rate"}
        config = (DPOConfig if method.is_paired else KTOConfig)(**given, **method.settings())
        assert (config.beta, config.learning_rate) == (method.beta, method.learning_rate)
    assert METHODS["ipo"].beta >= 0.5, "TRL's IPO is per token: 1 / (2 beta) nats between the answers"
    assert Dataset.from_list(LABELS).column_names == ["prompt", "completion", "label"]
