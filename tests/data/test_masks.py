"""What is trained of a row, as decoded text: turns by `train_on` and weight, tool calls, and templates that do not
write them.
"""

import pytest

from tiny_models import show_mask, tokenizer
from tunebook.data.lengths import check_lengths
from tunebook.data.mapping import Reading
from tunebook.data.row_types import read_row
from tunebook.errors import InputProblem
from tunebook.models.rendering import measure_row
from tunebook.models.templates import encode_row, learn_ends

OPEN, CLOSE = "<|im_start|>", "<|im_end|>"
# As Qwen's: tools before the turns, calls as JSON objects in tags.
WITH_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\n'"
    " }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}{% for call in m.tool_calls"
    " or [] %}{{ '<tool_call>' + call.function.name + ' ' + CALL + '</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{%"
    " endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "ring", "parameters": {}}}]


def spoken(template: str = ""):
    made = tokenizer("chatml")
    if template:
        made.chat_template = template
        learn_ends(made)
    return made


def shown(made, raw, **reading):
    row = read_row(raw, Reading("messages", **reading))
    return show_mask(made, *encode_row(made, row["prompt"], row["completion"], row.get("tools")))


def talk(*texts, **keys):
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"messages": turns, **keys}


def test_all_or_the_last_of_the_assistants_turns_are_trained():
    raw = talk("Open?", "Yes.", "Sure?", "Very.")
    start, rest = f"{OPEN}user\nOpen?{CLOSE}\n{OPEN}assistant\n", f"\n{OPEN}user\nSure?{CLOSE}\n{OPEN}assistant\n"
    assert shown(spoken(), raw) == f"{start}⟦Yes.{CLOSE}⟧{rest}⟦Very.{CLOSE}⟧"
    assert shown(spoken(), raw, train_on="last") == f"{start}Yes.{CLOSE}{rest}⟦Very.{CLOSE}⟧"


IN_WORDS = (  # one end of text after all turns, as templates of base models write it
    "{% for m in messages %}{{ ('### Q:\n' if m.role == 'user' else '### A:\n') + m.content + '\n' }}{% endfor %}{% if"
    " add_generation_prompt %}{{ '### A:\n' }}{% else %}{{ eos_token }}{% endif %}"
)
HARMONY = (  # <|im_end|> in the place of <|end|>, which is no end where <|return|> is one (gpt-oss)
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|message|>' + m.content }}{% if loop.last and m.role =="
    " 'assistant' %}{{ eos_token }}{% else %}{{ '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{"
    " '<|im_start|>assistant<|message|>' }}{% endif %}"
)


@pytest.mark.parametrize("template, last", [(IN_WORDS, "Very.\n<|endoftext|>"), (HARMONY, "Very.<|endoftext|>")])
def test_an_earlier_answer_that_nothing_closes_is_refused(template, last):
    """It was trained together with the next question, or not at all."""
    made = spoken(template)
    made.eos_token = "<|endoftext|>"
    made.turn_end = made.eos_token_id
    made.ends = frozenset([made.eos_token_id])
    raw = talk("Open?", "Yes.", "Sure?", "Very.")
    with pytest.raises(InputProblem, match="earlier answer does not end .*turn 2.*, or train_on: last$"):
        shown(made, raw)
    assert shown(made, raw, train_on="last").endswith(f"⟦{last}⟧")
    found, _ = measured(made, raw)
    assert "an earlier answer has no end" in found["prompt_prefix"]


def test_the_opening_of_the_next_turn_may_be_an_answers_end():
    """GLM-4 stops at <|user|>, which the user's turn begins with."""
    made = spoken(
        "{% for m in messages %}{{ '<|im_start|>' if m.role == 'user' else '<repo_name>' }}{{ m.content }}{% endfor %}{%"
        " if add_generation_prompt %}{{ '<repo_name>' }}{% endif %}"
    )
    made.ends = frozenset(made.convert_tokens_to_ids([OPEN, "<|endoftext|>"]))
    assert f"⟦Yes.{OPEN}⟧Sure?" in shown(made, talk("Open?", "Yes.", "Sure?", "Very."))


def test_a_turn_of_weight_0_is_read_and_what_follows_the_last_trained_turn_is_cut():
    raw = talk("Open?", "No.", "Sure?", "Yes.", "All?", "None.")
    raw["messages"][1]["weight"] = raw["messages"][5]["weight"] = 0
    text = shown(spoken(), raw)
    assert text.startswith(f"{OPEN}user\nOpen?{CLOSE}\n{OPEN}assistant\nNo.{CLOSE}\n") and text.endswith(
        f"⟦Yes.{CLOSE}⟧"
    )
    assert text.count("⟦") == 1 and "None." not in text


@pytest.mark.parametrize(
    "form, written",
    [("call.function.arguments | tojson", '{"minutes": 3}'), ("'~' + call.function.arguments", '~{"minutes": 3}')],
)
def test_tool_calls_are_trained_as_the_template_writes_them(form, written):
    """Some templates write arguments that are objects, others only arguments that are text."""
    call = {"function": {"name": "ring", "arguments": '{"minutes": 3}'}}
    turns = [{"role": "user", "content": "Ring."}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    turns += [{"role": "tool", "content": "ok"}, {"role": "assistant", "content": "It rings."}]
    made = spoken(WITH_TOOLS.replace("CALL", form))
    text = shown(made, {"messages": turns, "tools": TOOLS})
    assert text.startswith(f'{OPEN}system\n{{"type": "function"')
    assert f"⟦<tool_call>ring {written}</tool_call>{CLOSE}⟧\n{OPEN}tool\nok{CLOSE}" in text
    assert text.endswith(f"⟦It rings.{CLOSE}⟧")


def test_chatml_tools_writes_what_chatml_does_not():
    call = {"function": {"name": "ring", "arguments": {"minutes": 3}}}
    raw = talk("Ring.", "", tools=TOOLS)
    raw["messages"][1]["tool_calls"] = [call]
    made = tokenizer("chatml_tools")
    text = shown(made, raw)
    assert f'⟦<tool_call>{{"name": "ring", "arguments": {{"minutes": 3}}}}</tool_call>{CLOSE}⟧' in text
    assert text.startswith(f"{OPEN}system\nFunctions you may call") and '"name": "ring"' in text.split(CLOSE)[0]
    assert shown(made, talk("Open?", "Yes.")) == shown(spoken(), talk("Open?", "Yes."))


def measured(made, raw, **reading):
    _, findings, rejects, lengths = check_lengths(
        [read_row(raw, Reading("messages", **reading))], measure_row(made), 500
    )
    return {item.check: item.message for item in findings}, lengths


def test_a_template_that_knows_no_tools_is_named():
    call = {"function": {"name": "ring", "arguments": "{}"}}
    raw = talk("Ring.", "I ring.", tools=TOOLS)
    raw["messages"][1]["tool_calls"] = [call]
    found, _ = measured(spoken(), raw)
    assert list(found) == ["not_rendered"] and "tool_calls, tools" in found["not_rendered"]
    assert measured(spoken(WITH_TOOLS.replace("CALL", "''")), raw)[0] == {}
    assert measured(spoken(), raw, drop=frozenset(("tools", "tool_calls")))[0] == {}


def test_the_trained_tokens_are_counted():
    raw = talk("Open?", "Yes.", "Sure?", "Very.")
    counts = [measured(spoken(), raw, train_on=how)[1][0] for how in ("all", "last")]
    assert counts[0][0] > counts[1][0] > 0 and counts[0][1] == counts[1][1]


def test_a_template_that_refuses_a_system_turn_is_named_with_its_words_and_the_way_out():
    refuses = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{%"
        " endif %}"
    )
    refuses += "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    refuses += "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    raw = {"messages": [{"role": "system", "content": "Be brief."}, *talk("Open?", "Yes.")["messages"]]}
    found, _ = measured(spoken(refuses), raw)
    assert list(found) == ["template_refuses"] and "System role not supported" in found["template_refuses"]
    assert measured(spoken(refuses), raw, mapping=(("system", "first_user"),))[0] == {}
