"""A probe on a tiny model, with truths that are planted: a task that it can learn, and facts that no row can tell it."""

import random
from types import SimpleNamespace

import pytest
import torch

from tiny_models import CPU
from tunebook.errors import InputProblem
from tunebook.evaluation.protocol import Asking
from tunebook.models.loading import BaseModel, load_tokenizer
from tunebook.models.source import resolve_model
from tunebook.statistics.headroom import features
from tunebook.tasks.seeded import to_problems
from tunebook.training.dataset import tokenised
from tunebook.training.headroom.probe import AnswerNats, Mini, answer_nats, likelihood_row, probe, train_adapter
from zoo import build

EXACT = "def check(answer):\n    assert answer.strip() == {expected}, answer\n"


def rows_of(answer, n: int, seed: int) -> list[dict]:
    rng, made = random.Random(seed), []
    for _ in range(n):
        asked, wanted = f"{rng.randrange(10_000)}", answer(rng)
        prompt, completion = [{"role": "user", "content": asked}], [{"role": "assistant", "content": wanted}]
        made.append({"prompt": prompt, "completion": completion})
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = build("smollm2", tmp_path_factory.mktemp("tiny") / "model")
    return BaseModel(resolve_model(str(folder)), CPU, load_tokenizer(folder, "chatml"), 16)


def probed(base, answer, tmp_path, **changes) -> dict:
    dev = rows_of(answer, 24, 1)
    context = SimpleNamespace(folder=tmp_path, answers_folder=None, progress=lambda *_: None)
    how = Mini(**{"rows": 64, "problems": 24, "samples": 2, "learning_rate": 1e-2} | changes)
    asking = Asking(max_new_tokens=6)
    return probe(base, rows_of(answer, 100, 0), (dev, to_problems(dev, "tiny", EXACT)), how, asking, context)


def digits(rng: random.Random) -> str:
    return f"{rng.randrange(10**8)}"


def test_what_rows_can_teach_is_learned_and_what_they_cannot_is_not(base, tmp_path):
    """The curve of random answers stays far above where a learnable one falls: the prediction rests on it."""
    taught = probed(base, lambda rng: "yes", tmp_path / "taught")
    assert [row["rows"] for row in taught["curve"]] == [0, 16, 32, 64]
    assert (taught["base"], taught["base_k"]) == ({"k": 0, "n": 24}, {"k": 0, "n": 24, "samples": 2})
    assert taught["mini"]["k"] == 24 and taught["curve"][-1]["right"] > 0.9
    rows, held = (tokenised(rows_of(digits, n, seed), base.tokenizer, 64) for n, seed in ((64, 0), (24, 1)))
    watch = AnswerNats(held, (8, 16, 32))
    train_adapter(base, rows, Mini(learning_rate=1e-2), tmp_path / "facts", [watch])
    curve = [likelihood_row(2 * step, nats) for step, nats in watch.points.items()]
    assert curve[-1]["right"] < 0.01
    assert features(taught, 64)[1] < features(taught | {"curve": curve}, 64)[1] - 3


def test_the_likelihood_of_an_answer_is_that_of_its_own_tokens(base):
    """With a prompt's tokens in it, or without the token that ends the turn, every prediction would move."""
    rows = tokenised(rows_of(digits, 3, 0), base.tokenizer, 64)
    with base.engine() as engine, torch.no_grad():
        found = answer_nats(engine.model, rows)
        for row, (nats, n_tokens) in zip(rows, found, strict=True):
            ids, labels = (torch.tensor([row[key]]) for key in ("input_ids", "labels"))
            mean = float(engine.model(input_ids=ids, labels=labels).loss)
            assert n_tokens == sum(label != -100 for label in row["labels"]) and nats == pytest.approx(mean * n_tokens)
    assert row["labels"][-1] in base.tokenizer.ends


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rows": 8}, "headroom_rows: a mini-adapter of 8 rows"),
        ({"problems": 10}, "headroom_problems: 10 dev"),
        ({"samples": 0}, "headroom_samples: base draws 0"),
    ],
)
def test_a_probe_that_would_say_nothing_is_refused(base, tmp_path, changes, said):
    with pytest.raises(InputProblem, match=said):
        probed(base, digits, tmp_path, **changes)


def test_all_weights_train_as_an_adapter_does_and_answer_as_a_model_by_itself(base, tmp_path):
    """The study of adapters against full trains both ways here."""
    rows = tokenised(rows_of(lambda rng: "yes", 32, 0), base.tokenizer, 64)
    folder = train_adapter(base, rows, Mini(learning_rate=3e-3, method="full"), tmp_path / "full")
    assert (folder / "config.json").is_file() and not (folder / "adapter_config.json").exists()
    with base.engine() as before, base.engine(folder) as after:
        nats = [sum(value for value, _ in answer_nats(engine.model, rows)) for engine in (before, after)]
    assert nats[1] < nats[0] / 2
