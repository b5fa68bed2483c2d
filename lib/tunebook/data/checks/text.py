"""Troubles that one row's text shows by itself: control tokens, invisible characters, wrong decoding, HTML, refusals.

Some depend on the file: HTML is noise only where most answers have none. Does not compare rows with each other.
"""

import json
import re

from tunebook.data.checks.code import PYTHON_START
from tunebook.data.examples import Examples
from tunebook.data.messages import BLANK_MARKS

# Names of sequence tokens (<s>, <pad>) are also HTML or quoted in programs: only bare ones that no closing tag
# explains.
CONTROL_TOKENS = re.compile(
    r"<\|[a-z][a-z0-9_]{0,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<｜[^｜>]{1,40}｜>|\[(?:CLS|SEP|PAD)\]"
    r"|(?<![\"'`(\w])<(?:bos|eos|pad|unk|sep|cls)>(?![\"'`)\w])"
)
SEQUENCE_START, SEQUENCE_END = re.compile(r"(?<![\"'`])<s>(?![\"'`])"), re.compile(r"(?<![\"'`])</s>(?![\"'`])")
CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
    # after the black flag they write England, Scotland, Wales
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]"
)
HTML = re.compile(
    r"</?(?:div|span|p|br|td|tr|table|li|ul|ol|h[1-6]|font|a|img|script|body)\b[^>\n]{0,200}>|&(?:nbsp|lt|gt|amp|quot|#\d{1,5});",
    re.I,
)
MARKUP_ASKED = re.compile(
    r"html|xml|svg|css|mark-?up|hyperlink|<[a-z]+|&[a-z]+;"
    r"|\b(?:write|make|build|create|generate|design|code)\b[^.?!\n]{0,60}\b(?:web|(?:web)?pages?|links?|tags?)\b",
    re.I,
)
MARKUP_NAMED = re.compile(
    r"html|xml|svg|css|mark-?up|web|page|\btags?\b|escape|entit|pars|scrap|javascript|react", re.I
)
REFUSED = (
    r"(?:can ?not|can['’]?t|won['’]?t|will not|must|have to|am unable to|am not able to|['’]m unable to|['’]m not"
    r" able to)"
)
REFUSAL = re.compile(
    r"\bas an? (?:(?:ai|artificial intelligence|large)(?: language)? (?:model|assistant)|language model|ai,)"
    r"|^\W*i apologi[sz]e,? (?:but|for any|that i)"
    r"|^\W*(?:i'?m|i am|i’m|sorry)[^.!?\n]{0,24}sorry,? (?:but )?as an ai"
    rf"|^\W*(?:(?:(?:(?:i'?m|i am|i’m) )?(?:\w+ )?sorry|unfortunately|regrettably),? (?:but )?)?i ?{REFUSED}"
    r" (?:help|assist|fulfil|fulfill|provide|answer|comply|"
    r"do that|complete|generate|create|engage|support|decline|refuse|discuss|offer|share"
    r"|respond|perform|continue|recommend|talk"
    r"|write|give (?:you|medical|legal|financial))"
    r"|^\W*(?:sorry,? (?:but )?)?i (?:do not|don['’]?t) have (?:the"
    r" ability|personal|access|real-time|opinions|feelings)"
    r"|^\W*(?:todo|tbd|lorem ipsum|\[?(?:insert|your answer|answer goes) here)",
    re.I,
)
SORRY = re.compile(rf"^\W*(?:i'?m|i am|i’m)? ?(?:very |really |so )?sorry,? (?:but )?i ?{REFUSED}\b", re.I)
# characters of an answer that is no more than this sentence: a longer one may be about a real matter
LONGEST_SORRY = 60
FENCE = re.compile(r"^ {0,3}```.*?(?:^ {0,3}```[ \t]*$|\Z)", re.S | re.M)
RARE_MARKUP = 0.05  # of prompts: more than this is what the file is about


def find_content_troubles(examples: Examples) -> None:
    """Note control tokens, invisible characters, mojibake, refusals and HTML noise."""
    html, prompts = [], []
    is_undecodable = any(item.check == "encoding" for item in examples.rows.findings)
    for number, prompt, answer, worse in examples.all_texts("content"):
        text = f"{prompt}\n{answer}\n{worse}"
        if examples.kind != "text" and ("<" in text or "[" in text):
            token = control_token(text)
            if token:
                examples.add("control_tokens", number, ascii(token))
        match = CONTROL_CHARACTERS.search(text)
        if match:
            examples.add("control_characters", number, ascii(match.group())[:60])
        if "\r" in text:
            examples.add("carriage_returns", number, repr(text[max(0, text.index("\r") - 10) : text.index("\r") + 2]))
        broken = "" if text.isascii() else mojibake(text.replace("\ufffd", "") if is_undecodable else text)
        if broken:
            examples.add("mojibake", number, ascii(broken)[:60])
        match = REFUSAL.search(answer[:400]) or (len(answer) <= LONGEST_SORRY and SORRY.search(answer))
        if match:
            examples.add("refusals", number, ascii(match.group())[:60])
        if "<" in text or "&" in text:
            _look_for_html(number, prompt, answer, html, prompts)
    _note_html(examples, html, prompts)


MIN_PROMPT_WORDS = 4
SURE_MARKS = frozenset(("nan", "<na>", "nat", "#n/a"))  # others of BLANK_MARKS may be a class, or printed by a program
MAX_BLANK_SHARE = 0.2  # of rows: a more frequent one is a label
MIN_USUAL_WORDS = 3  # words of the usual answer where "None" is no answer


def find_repeated_prompts(examples: Examples) -> None:
    """Note answers that repeat their question, and answers that are the mark of a blank cell."""
    blanks, n_words = [], []
    for number, prompt, answer, worse in examples.all_texts():
        n_words.append(len(answer.split(None, MIN_USUAL_WORDS)))
        if len(answer) < 8 and answer.strip().lower() in BLANK_MARKS:
            blanks.append((number, answer.strip()))
        last = prompt.rstrip().rsplit("\n", 1)[-1].strip()
        if last and any(last in side for side in (answer, worse)) and _repeats(examples, number, (answer, worse)):
            examples.add("prompt_repeated", number)
    is_long = bool(n_words) and sorted(n_words)[len(n_words) // 2] >= MIN_USUAL_WORDS
    if len(blanks) <= MAX_BLANK_SHARE * len(examples):
        for number, mark in blanks:
            if is_long or mark.lower() in SURE_MARKS:
                examples.add("blank_cell", number, f"the answer is {mark!r}")


def _repeats(examples: Examples, number: int, answers: tuple[str, str]) -> bool:
    """True where the last user turn, of several words and no code, stands in an answer that says more."""
    asked = next((m["content"] for m in reversed(examples.row(number)["prompt"]) if m["role"] == "user"), "")
    asked = " ".join(asked.split())
    if len(asked.split()) < MIN_PROMPT_WORDS or re.search(r"```|\bdef |\bclass |[{};]", asked):
        return False
    return any(asked in " ".join(answer.split()) for answer in answers)


def control_token(text: str) -> str:
    """The first control token of a chat or sequence in the text, or ""; <s>struck</s> is HTML."""
    match = CONTROL_TOKENS.search(text)
    if match:
        return match.group()
    start, end = SEQUENCE_START.search(text), SEQUENCE_END.search(text)
    if start and (not end or end.start() < start.start() or not text[: start.start()].strip()):
        return start.group()
    return end.group() if end and not start else ""


def mojibake(text: str) -> str:
    """The first part of the text that was decoded wrongly (UTF-8 read as Latin-1 and the like), or "".

    ftfy judges each line, and only what its repair changes counts.
    """
    import ftfy
    import ftfy.badness

    at = text.find("\ufffd")
    if at >= 0:
        return text[max(0, at - 8) : at + 8]
    for line in text.split("\n"):
        if not line.isascii() and ftfy.badness.is_bad(line) and ftfy.fix_encoding(line) != line:
            return ftfy.badness.BADNESS_RE.search(line).group()
    return ""


def _look_for_html(number: int, prompt: str, answer: str, html: list, prompts: list) -> None:
    is_program = PYTHON_START.match(answer.lstrip())
    match = not is_program and HTML.search(answer) and HTML.search(FENCE.sub("", answer))
    if match:
        html.append((number, match.group()[:40], bool(MARKUP_ASKED.search(prompt))))
    matches = HTML.findall(FENCE.sub("", prompt))
    is_closed = any(mark.startswith(("</", "&")) for mark in matches)
    if len(matches) > 1 and is_closed and not MARKUP_NAMED.search(HTML.sub("", prompt)) and not match:
        prompts.append((number, repr(matches[0][:40]) + " in the prompt"))


def _note_html(examples: Examples, html: list, prompts: list) -> None:
    """HTML in most answers is the task itself, and so is HTML that the prompt asks for."""
    if 2 * len(html) < len(examples):
        for number, text, is_asked in html:
            if not is_asked:
                examples.add("html_noise", number, repr(text))
    if len(prompts) <= RARE_MARKUP * len(examples):
        examples.add_all("html_noise", prompts)


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
    """True for a last line such as UNSTOPPED, and for a short or indented one of its own: a signature, a verse, a
    grammar.
    """
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
    """Where nine in ten longer answers (or all answers) end like a sentence, one that ends inside a sentence was
    cut.
    """
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
