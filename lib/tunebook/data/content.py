"""Troubles that one row's text shows by itself: control tokens, invisible characters, wrong decoding, HTML, refusals.

Some depend on the file: HTML is noise only where most answers have none. Does not compare rows with each other.
"""

import re

from tunebook.data.codes import PYTHON_START
from tunebook.data.examples import Examples

# Names of sequence tokens (<s>, <pad>) are also HTML or quoted in programs: only bare ones that no closing tag explains.
CONTROL_TOKENS = re.compile(
    r"<\|[a-z][a-z0-9_]{0,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<｜[^｜>]{1,40}｜>|\[(?:CLS|SEP|PAD)\]"
    r"|(?<![\"'`(\w])<(?:bos|eos|pad|unk|sep|cls)>(?![\"'`)\w])"
)
SEQUENCE_START, SEQUENCE_END = re.compile(r"(?<![\"'`])<s>(?![\"'`])"), re.compile(r"(?<![\"'`])</s>(?![\"'`])")
CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]"  # after the black flag they write England, Scotland, Wales
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
REFUSED = r"(?:can ?not|can['’]?t|won['’]?t|will not|must|have to|am unable to|am not able to|['’]m unable to|['’]m not able to)"
REFUSAL = re.compile(
    r"\bas an? (?:(?:ai|artificial intelligence|large)(?: language)? (?:model|assistant)|language model|ai,)"
    r"|^\W*i apologi[sz]e,? (?:but|for any|that i)"
    r"|^\W*(?:i'?m|i am|i’m|sorry)[^.!?\n]{0,24}sorry,? (?:but )?as an ai"
    rf"|^\W*(?:(?:(?:(?:i'?m|i am|i’m) )?(?:\w+ )?sorry|unfortunately|regrettably),? (?:but )?)?i ?{REFUSED} (?:help|assist|fulfil|fulfill|provide|answer|comply|"
    r"do that|complete|generate|create|engage|support|decline|refuse|discuss|offer|share|respond|perform|continue|recommend|talk"
    r"|write|give (?:you|medical|legal|financial))"
    r"|^\W*(?:sorry,? (?:but )?)?i (?:do not|don['’]?t) have (?:the ability|personal|access|real-time|opinions|feelings)"
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
        broken = "" if text.isascii() else mojibake(text.replace("\ufffd", "") if is_undecodable else text)
        if broken:
            examples.add("mojibake", number, ascii(broken)[:60])
        match = REFUSAL.search(answer[:400]) or (len(answer) <= LONGEST_SORRY and SORRY.search(answer))
        if match:
            examples.add("refusals", number, ascii(match.group())[:60])
        if "<" in text or "&" in text:
            _look_for_html(number, prompt, answer, html, prompts)
    _note_html(examples, html, prompts)


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
