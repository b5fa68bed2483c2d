"""Answers that stop in the middle: open code fences and thoughts, unbalanced JSON, prose that ends inside a sentence.

How an answer ends is judged against the other rows: where most have no full stop, none is missed. Does not parse programs.
"""

import json
import re

from tunebook.data.examples import Examples

FENCE_MARK = re.compile(r"^ {0,3}```", re.M)
SENTENCE_END = re.compile(r"[.!?:;…。！？؟।\"'”’»)\]}`*|>~$☀-\U0001faff]\s*$")
CUT_END = re.compile(r"[\w,(\-–&/]\s*$")
# ends that need no full stop: a list item, an address, a tag, a number, a script without one (Thai)
UNSTOPPED = re.compile(r"^\s*(?:[-*•+]|\d+[.)])\s|(?:https?://|www\.|[#@])\S+\s*$|\d\s*$|[\u0e00-\u0e7f]\s*$")
CODE_LINE = re.compile(
    r"^\s*(?:def \w|class \w+[(:]|import \w|from \w+ import|return\b.*[;)\w]$|function\b|const |let |var |#include)"
    r"|[{};]\s*$|\w\(.*\)\s*:?$",
    re.M,
)
MIN_PROSE_WORDS, MIN_WORDS = 8, 6  # the second where nearly all answers, short ones too, end like a sentence
MIN_ROWS = 10
USUAL_SHARE = 0.9  # of longer answers that end like a sentence, or of answers that are whole JSON
PAIRS = {")": "(", "]": "[", "}": "{"}
CUT_REASONS = ("length", "max_tokens", "max_length", "MAX_TOKENS")


def find_truncated(examples: Examples) -> None:
    """Note answers that were cut; for preference pairs the chosen answer counts."""
    prose, documents, n_answers = [], [], 0
    reasons = _finish_reasons(examples)
    for number, prompt, answer in examples.texts():
        n_answers += 1
        if number in reasons:
            examples.add("truncated_answers", number, f"finish_reason is {reasons[number]}")
        elif "```" in answer and len(FENCE_MARK.findall(answer)) % 2:
            examples.add("truncated_answers", number, "a code fence that is not closed")
        elif "<think>" in answer and "</think>" not in answer and "<think>" not in prompt:
            examples.add("truncated_answers", number, "a thought that is not closed")
        elif answer.lstrip()[:1] in ("{", "["):
            documents.append((number, answer))
        elif "\\boxed{" in answer and _is_open(answer[answer.rfind("\\boxed{") :]):
            examples.add("truncated_answers", number, "a \\boxed{ that is not closed")
        elif "```" not in answer and not _is_code(answer):
            n_words = len(answer.split(None, MIN_PROSE_WORDS))
            is_cut = bool(CUT_END.search(answer)) and not _needs_no_stop(answer)
            prose.append((number, n_words, bool(SENTENCE_END.search(answer)), is_cut, answer[-30:]))
    _note_prose(examples, prose)
    _note_documents(examples, documents)


def _needs_no_stop(answer: str) -> bool:
    """True for a last line such as UNSTOPPED, and for a short or indented one of its own: a signature, a verse, a grammar."""
    lines = answer.rstrip().split("\n")
    is_apart = len(lines) > 1 and (len(lines[-1].split()) < MIN_WORDS or lines[-1][:1].isspace())
    return is_apart or bool(UNSTOPPED.search(lines[-1]))


def _finish_reasons(examples: Examples) -> dict[int, str]:
    """Rows whose generator says that it ran out of tokens."""
    if not any("finish_reason" in text for text in examples.rows.texts.slice(0, 1000).to_pylist()):
        return {}
    reasons = ((number, row.get("finish_reason")) for number, row in enumerate(examples))
    return {number: reason for number, reason in reasons if reason in CUT_REASONS}


def _is_code(answer: str) -> bool:
    return any(sign in answer for sign in "(){};=") and bool(CODE_LINE.search(answer))


def _is_open(text: str) -> bool:
    """True when a bracket outside quotes is never closed and nothing else is wrong."""
    stack, is_quoted, skip = [], False, False
    for sign in text:
        if skip:
            skip = False
        elif sign == "\\":
            skip = True
        elif sign == '"':
            is_quoted = not is_quoted
        elif is_quoted:
            continue
        elif sign in "([{":
            stack.append(sign)
        elif sign in PAIRS and (not stack or stack.pop() != PAIRS[sign]):
            return False
    return bool(stack)


def _note_prose(examples: Examples, prose: list) -> None:
    """Where nine in ten longer answers (or all answers) end like a sentence, one that ends inside a sentence was cut."""
    for shortest in (MIN_WORDS, MIN_PROSE_WORDS + 1):
        long = prose if shortest == MIN_WORDS else [item for item in prose if item[1] >= shortest]
        if len(long) < MIN_ROWS or sum(item[2] for item in long) < USUAL_SHARE * len(long):
            continue
        for number, n_words, is_ended, is_cut, end in long:
            if is_cut and not is_ended and n_words >= shortest:
                examples.add("truncated_answers", number, f"ends with {end!r}")
        return


def _note_documents(examples: Examples, documents: list) -> None:
    """Answers that begin as JSON and stop inside, where nearly all others are whole."""
    broken = []
    for number, answer in documents:
        try:
            json.loads(answer)
        except (ValueError, RecursionError):
            broken.append((number, answer))
    if len(documents) >= MIN_ROWS and len(broken) <= (1 - USUAL_SHARE) * len(documents):
        for number, answer in broken:
            if _is_open(answer):
                examples.add("truncated_answers", number, f"JSON that ends with {answer[-20:]!r}")
