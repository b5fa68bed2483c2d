"""The loss mask, read as text: what is trained is the answer and the token that ends it."""

import pytest

from tiny_models import show_mask, tokenizer
from tunebook.errors import InputProblem
from tunebook.models.rendering import measure_row
from tunebook.models.templates import encode_row, render_prompt, use_template

PROMPT = [{"role": "user", "content": "every day at noon"}]
ANSWER = [{"role": "assistant", "content": "0 12 * * *"}]


def test_the_answer_and_its_end_are_trained_and_nothing_else():
    spoken = tokenizer()
    shown = show_mask(spoken, *encode_row(spoken, PROMPT, ANSWER))
    assert shown == "<|im_start|>user\nevery day at noon<|im_end|>\n<|im_start|>assistant\n⟦0 12 * * *<|im_end|>⟧"


def test_only_the_last_answer_of_a_conversation_is_trained():
    spoken = tokenizer()
    earlier = [*PROMPT, *ANSWER, {"role": "user", "content": "at one"}]
    shown = show_mask(spoken, *encode_row(spoken, earlier, [{"role": "assistant", "content": "0 1 * * *"}]))
    assert shown.count("⟦") == 1 and shown.endswith("⟦0 1 * * *<|im_end|>⟧")


def test_the_model_is_asked_with_the_tokens_it_was_trained_on():
    spoken = tokenizer()
    ids, mask = encode_row(spoken, PROMPT, ANSWER)
    assert render_prompt(spoken, PROMPT) == ids[: mask.index(1)]
    assert measure_row(spoken)({"prompt": PROMPT, "completion": ANSWER}) == (mask.index(1), len(ids), "", sum(mask))


def test_the_short_template_saves_the_default_system_turn():
    assert len(render_prompt(tokenizer("model"), PROMPT)) > len(render_prompt(tokenizer("chatml"), PROMPT)) + 10


def test_a_template_whose_prompt_is_no_prefix_is_refused():
    """With such a template every mask is wrong, and the model learns to write its own prompt."""
    spoken = tokenizer()
    spoken.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}GO{% endif %}"
    )
    with pytest.raises(InputProblem, match="not a prefix"):
        encode_row(spoken, PROMPT, ANSWER)


def test_a_model_without_a_chat_template_is_refused():
    spoken = tokenizer()
    spoken.chat_template = None
    with pytest.raises(InputProblem, match="no chat template"):
        use_template(spoken, "model")
    with pytest.raises(InputProblem, match="choose one of model, chatml"):
        use_template(spoken, "chatlm")
