"""Troubles that one row's text shows by itself: control tokens, invisible characters, wrong decoding, HTML, refusals.

Some depend on the file: HTML is noise only where most answers have none. Does not compare rows with each other.
"""

import re

from tunebook.data.examples import Examples

CONTROL_TOKENS = re.compile(
    r"<\|(?:im_start|im_end|endoftext|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|user|assistant"
    r"|system|end|pad)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<｜[^｜>]{1,40}｜>|(?<![\w/])</s>\s*$"
)
CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
MOJIBAKE = re.compile(
    "Ã[\u0080-\u00bf]|â€[\u0080-\u00bf™œžšŸ˜“”•–—¦\u0153]|Â[\u0080-\u00bf]|ï»¿|\ufffd|Ð[\u0080-\u00bf]Ð|â\u0080[\u0080-\u00bf]"
)
HTML = re.compile(
    r"</?(?:div|span|p|br|td|tr|table|li|ul|ol|h[1-6]|font|a|img|script|body)\b[^>\n]{0,200}>|&(?:nbsp|lt|gt|amp|quot|#\d{1,5});",
    re.I,
)
MARKUP_ASKED = re.compile(r"html|xml|svg|css|mark-?up|web ?page|\btags?\b|<[a-z]+|&[a-z]+;", re.I)
REFUSAL = re.compile(
    r"\bas an? (?:(?:ai|artificial intelligence|large)(?: language)? (?:model|assistant)|language model|ai,)"
    r"|^\W*i apologi[sz]e,? (?:but|for any|that i)"
    r"|^\W*(?:i'?m|i am) (?:very |really |so )?sorry,? (?:but )?(?:as an ai|i (?:can ?not|can['’]?t|am (?:not able|unable)|won['’]?t))"
    r"|^\W*(?:sorry,? (?:but )?)?i (?:can ?not|can['’]t|won['’]t|am unable to|am not able to|['’]m unable to) "
    r"(?:help|assist|fulfil|fulfill|provide|answer|comply|do that|complete|generate|create|engage|support)"
    r"|^\W*(?:todo|tbd|lorem ipsum|\[?(?:insert|your answer|answer goes) here)",
    re.I,
)
FENCE = re.compile(r"^ {0,3}```.*?(?:^ {0,3}```[ \t]*$|\Z)", re.S | re.M)
FENCE_MARK = re.compile(r"^ {0,3}```", re.M)
SENTENCE_END = re.compile(r"[.!?:;…。！？\"'”’)\]}`*|>~]\s*$")
CUT_END = re.compile(r"[a-z0-9,(\-–]\s*$")
CODE_LINE = re.compile(
    r"^\s*(?:def|class|import|from|for|while|if|return|public|function|const|let|var|#include)\b|[{};]\s*$", re.M
)
MIN_PROSE_WORDS = 8
MIN_PROSE_ROWS = 10


def find_content_troubles(examples: Examples) -> None:
    """Note control tokens, invisible characters, mojibake and refusals, then HTML noise and answers that stop midway."""
    html, prose = [], []
    is_undecodable = any(item.check == "encoding" for item in examples.rows.findings)
    for number, prompt, answer in examples.texts():
        text = f"{prompt}\n{answer}"
        has_marks = examples.kind != "text" and ("<" in text or "INST]" in text)
        for check, pattern, part in (
            ("control_tokens", CONTROL_TOKENS, text if has_marks else ""),
            ("control_characters", CONTROL_CHARACTERS, text),
            (
                "mojibake",
                MOJIBAKE,
                "" if text.isascii() else text.replace("\ufffd", "" if is_undecodable else "\ufffd"),
            ),
            ("refusals", REFUSAL, answer[:400]),
        ):
            match = pattern.search(part)
            if match:
                examples.add(check, number, ascii(match.group())[:60])
        has_marks = "<" in answer or "&" in answer
        match = has_marks and HTML.search(answer) and HTML.search(FENCE.sub("", answer))
        if match:
            html.append((number, match.group()[:40], bool(MARKUP_ASKED.search(prompt))))
        _look_at_end(number, answer, prose, examples)
    _note_html(examples, html)
    _note_truncated(examples, prose)


def _note_html(examples: Examples, html: list) -> None:
    """HTML in most answers is the task itself, and so is HTML that the prompt asks for."""
    if 2 * len(html) < len(examples):
        for number, text, is_asked in html:
            if not is_asked:
                examples.add("html_noise", number, repr(text))


def _look_at_end(number: int, answer: str, prose: list, examples: Examples) -> None:
    """An open code fence is cut for certain; how prose ends is judged against the other rows."""
    if "```" in answer and len(FENCE_MARK.findall(answer)) % 2:
        examples.add("truncated_answers", number, "a code fence that is not closed")
    elif (
        "```" not in answer
        and not CODE_LINE.search(answer)
        and len(answer.split(None, MIN_PROSE_WORDS)) > MIN_PROSE_WORDS
    ):
        prose.append((number, bool(SENTENCE_END.search(answer)), bool(CUT_END.search(answer)), answer[-30:]))


def _note_truncated(examples: Examples, prose: list) -> None:
    """Where nine in ten longer answers end like a sentence, one that ends inside a sentence was cut."""
    n_ended = sum(is_ended for _, is_ended, _, _ in prose)
    if len(prose) >= MIN_PROSE_ROWS and n_ended >= 0.9 * len(prose):
        for number, is_ended, is_cut, end in prose:
            if is_cut and not is_ended:
                examples.add("truncated_answers", number, f"ends with {end!r}")
