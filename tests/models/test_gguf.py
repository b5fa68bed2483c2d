"""GGUF files are opened here only after a child has opened them: llama.cpp aborts on some, and an aborted process
says nothing.
"""

import numpy
import pytest

from tiny_files import loadable, whole
from tunebook.errors import InputProblem
from tunebook.inspection import limited
from tunebook.models import gguf_tokenizer
from tunebook.models.engine import Decoding
from tunebook.models.gguf_engine import GgufModel
from tunebook.models.gguf_tokenizer import GgufTokenizer

ABORTING = {
    "a token twice": {"words": ("<s>", "</s>", "a", "a")},
    "a token ended by a zero byte": {"words": ("<s>", "</s>", "a", "a\0b")},
    "no blocks": {"llama__block_count": ("u32", 0)},
    "epsilon below 0": {"llama__attention__layer_norm_rms_epsilon": ("f32", -1.0)},
}


@pytest.fixture
def write(tmp_path):
    def made(**changes):
        path = tmp_path / "a.gguf"
        path.write_bytes(loadable(**changes))
        return path

    return made


def test_a_good_file_opens_and_generates(write):
    path = write()
    argument = {"path": str(path), "is_whole": True}
    assert limited.call("tunebook.models.gguf_tokenizer:try_load", argument, [path], gguf_tokenizer.TRIAL) == {
        "opened": True
    }
    engine = GgufModel(path, 1)
    ids = engine.encode([{"role": "user", "content": "ab"}])
    done = next(engine.generate([ids], Decoding(2)))
    assert ids and len(done.ids) <= 2
    whole = [*ids, *done.ids]
    logits = engine.read_logits(whole[:-1], len(ids) - 1).astype(float)
    if done.finish_reason == "length":
        nats = [row[token] - numpy.log(numpy.exp(row).sum()) for row, token in zip(logits, done.ids, strict=True)]
        assert done.logp == pytest.approx(sum(nats), abs=1e-3)
    with pytest.raises(InputProblem, match="prompt 1 has no token"):
        list(engine.generate([ids, []], Decoding(2)))
    with pytest.raises(InputProblem, match="surrogate"):
        engine.encode("a\ud800")
    engine.close()


@pytest.mark.parametrize("name", ABORTING)
def test_a_file_on_which_llama_aborts_is_one_sentence(name, write, monkeypatch):
    """The process of the caller ended with SIGABRT; here the checks of the header are taken away, and the trial
    remains.
    """
    path = write(**ABORTING[name])
    with pytest.raises(InputProblem, match="lists every objection"):
        GgufTokenizer(path)
    found = {"kind": "gguf", "template": "", "findings": []}
    monkeypatch.setattr(gguf_tokenizer, "look", lambda *given: found)
    with pytest.raises(InputProblem, match=r"llama.cpp cannot be let near it .*signal 6"):
        GgufModel(path, 1)


def test_what_llama_says_of_a_file_is_told(write):
    path = write(general__architecture=("str", "zzz"))
    with pytest.raises(InputProblem, match="unknown model architecture: 'zzz'"):
        gguf_tokenizer.load_gguf(path)
    assert gguf_tokenizer.last_words() == ""


def test_the_reason_is_found_among_later_lines(monkeypatch):
    lines = ["old", "llama_model_load: error loading model: tensor 'a' not found", "failed to load model"]
    monkeypatch.setattr(gguf_tokenizer, "_last", lines)
    assert gguf_tokenizer.last_words() == "tensor 'a' not found"


def test_a_file_is_tried_once(write, monkeypatch):
    path, asked = write(), []
    monkeypatch.setattr(gguf_tokenizer, "call", lambda *given: asked.append(given) or {"opened": True})
    for _ in range(2):
        gguf_tokenizer.checked_file(path)
    assert len(asked) == 1
    path.write_bytes(path.read_bytes() + bytes(32))
    gguf_tokenizer.checked_file(path)
    assert len(asked) == 2 and len(whole()) == 11
