"""Rows in another script or language than nearly all others.

Scripts (Cyrillic among Latin, ...) are judged in every row, languages by py3langid in a seeded sample of rows (`Limits.sampled`) and only
where a text is long and the model is sure. Does not know dialects, and short texts have no language here.
"""

import collections
import functools
import hashlib
import re

from tunebook.data.examples import Examples

SCRIPTS = {
    "Latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
    "Greek": "\u0370-\u03ff",
    "Cyrillic": "\u0400-\u052f",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
    "Korean": "\uac00-\ud7af\u1100-\u11ff",
    "Japanese kana": "\u3040-\u30ff",
    "Chinese characters": "\u3400-\u4dbf\u4e00-\u9fff",
}
LETTERS = {name: re.compile(f"[{signs}]") for name, signs in SCRIPTS.items()}
NOT_LATIN = re.compile("[\u0370-\u1dff\u2c00-\ud7af]")
MIN_LETTERS = 20
MIN_ROWS = 20
MIN_TEXT_LETTERS = 60
MIN_CONFIDENCE = 0.95
MIN_SECOND_SHARE = 0.02  # of those texts: below, the finding says nothing of a second language
MIN_USUAL_SHARE = 0.80  # of the texts that have a sure language
# Without these bounds odd English is taken for small languages such as Nigerian Pidgin.
LANGUAGES = (
    "ar bg cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl sr sv th tr uk vi zh"
).split()
WORDS = re.compile(r"[^\W\d_]{2,}")


def find_language_mix(examples: Examples) -> list[dict]:
    """Note rows whose text or answer is mostly in a script or language that few rows are in; returns the languages found.

    The table is of the sampled texts: `language, texts, share`; where there are several, the finding `languages` says so.
    """
    if len(examples) < MIN_ROWS:
        return []
    troubles = _script_troubles(examples)
    known = {number for number, _ in troubles}
    sure, n_texts = _languages(examples)
    rare = _rare_languages(sure, n_texts, examples.limits.rare_language)
    troubles += [(n, f"the text is in {sure[n]!r}, most are not") for n in sure if sure[n] in rare and n not in known]
    examples.add_all("language_mix", troubles)
    counts = collections.Counter(sure.values()).most_common()
    table = [{"language": name, "texts": n, "share": n / len(sure)} for name, n in counts]
    if len(table) > 1 and table[1]["share"] >= MIN_SECOND_SHARE:
        parts = ", ".join(f"{row['language']} {row['share']:.1%}" for row in table[:6])
        examples.notes.add("languages", detail=f"{parts} of {len(sure)} texts in a seeded sample")
    return table


def _script_troubles(examples: Examples) -> list[tuple[int, str]]:
    troubles = {}
    scripts = [main_script(f"{prompt} {answer}") for _, prompt, answer in examples.texts()]
    answers = [main_script(answer) for _, _, answer in examples.texts()]
    for kinds, what in ((scripts, "row"), (answers, "answer")):
        counts = collections.Counter(kinds)
        counts.pop("", None)
        if not counts:
            continue
        usual = counts.most_common(1)[0][0]
        for number, kind in enumerate(kinds):
            if kind and kind != usual and counts[kind] <= examples.limits.rare_language * len(examples):
                troubles.setdefault(number, f"the {what} is in {kind}, most are in {usual}")
    return list(troubles.items())


@functools.cache
def _identifier():
    from pathlib import Path

    from py3langid import langid

    path = Path(langid.__file__).parent / langid.MODEL_FILE
    identifier = langid.LanguageIdentifier.from_modelpath(path, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier


def _languages(examples: Examples, seed: int = 0) -> tuple[dict[int, str], int]:
    """Number → language of the answer, or of the whole text where few answers are long; and how many texts were long enough.

    One or the other for the whole file: the prompts of a translation task have another language than its answers.
    """
    limit = examples.limits.sampled / len(examples) * 2**64
    points = (hashlib.blake2b(f"{seed}\n{number}".encode(), digest_size=8).digest() for number in range(len(examples)))
    sampled = [row for row, point in zip(examples.texts(), points, strict=True) if int.from_bytes(point, "big") < limit]
    answers = [_letters(answer) for _, _, answer in sampled]
    by_answer = sum(len(text) >= MIN_TEXT_LETTERS for text in answers) >= MIN_ROWS
    texts = answers if by_answer else [_letters(f"{prompt} {answer}") for _, prompt, answer in sampled]
    long = [
        (number, text) for (number, _, _), text in zip(sampled, texts, strict=True) if len(text) >= MIN_TEXT_LETTERS
    ]
    sure = {}
    for number, text in long:
        language, confidence = _identifier().classify(text)
        if confidence >= MIN_CONFIDENCE:
            sure[number] = language
    return sure, len(long)


def _rare_languages(sure: dict[int, str], n_texts: int, share: float) -> set[str]:
    """The languages of few texts, where one language has most."""
    counts = collections.Counter(sure.values())
    usual, n_usual = counts.most_common(1)[0] if counts else ("", 0)
    if n_texts < MIN_ROWS or n_usual < max(MIN_ROWS / 2, MIN_USUAL_SHARE * len(sure)):
        return set()
    return {language for language, count in counts.items() if language != usual and count <= share * n_texts}


def _letters(text: str) -> str:
    """The words of the first 1,000 characters; code fences and numbers say nothing about a language."""
    return " ".join(WORDS.findall(text[:1000].split("```")[0]))


def main_script(text: str) -> str:
    """The script of most letters, "" for under 20 letters."""
    text = text[:1000]
    if text.isascii() or not NOT_LATIN.search(text):
        return "Latin" if len(LETTERS["Latin"].findall(text[:200])) >= MIN_LETTERS else ""
    counts = {name: len(pattern.findall(text)) for name, pattern in LETTERS.items()}
    if counts["Japanese kana"]:
        counts["Japanese kana"] += counts.pop("Chinese characters")
    best = max(counts, key=counts.get)
    return (
        best
        if counts[best] >= MIN_LETTERS // (3 if best in ("Chinese characters", "Japanese kana", "Korean") else 1)
        else ""
    )
