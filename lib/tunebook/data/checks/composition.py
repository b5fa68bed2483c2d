"""What the rows are made of: scripts and languages, how far they are from a benchmark's prompts, which slices they
cover, and words that always bring one answer.

Scripts (Cyrillic among Latin, ...) are judged in every row, languages by py3langid in a seeded sample of rows
(`Thresholds.sampled`) and only where a text is long and the model is sure. Does not know dialects, and short texts have
no language here.
"""

import collections
import functools
import hashlib
import re

from tunebook.data.examples import Examples
from tunebook.data.mapping import words_of
from tunebook.data.notes import word_finding
from tunebook.data.splits import normalise, slice_of
from tunebook.picking import pick
from tunebook.statistics.domains import separate

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
LANGUAGE_WORDS = frozenset(("language", "languages", "lang", "locale"))
MIN_RARE_LANGUAGES, MIN_LANGUAGE_ROWS = 2, 3  # so many rare languages with so many rows each are no slip
LANGUAGE_ASKED = re.compile(
    r"\btranslat|\b(?:in|into|to|auf|en)"
    r" (?:arabic|bulgarian|chinese|czech|danish|dutch|finnish|french|german|greek|hebrew|hindi"
    r"|hungarian|indonesian|italian|japanese|korean|mandarin|norwegian|polish|portuguese|romanian|russian|slovak|spanish|swedish"
    r"|thai|turkish|ukrainian|vietnamese)\b",
    re.I,
)


def find_language_mix(examples: Examples) -> list[dict]:
    """Note rows whose text or answer is mostly in a script or language that few rows are in; returns the languages
    found.

    The table is of the sampled texts: `language, texts, share`; where there are several, the finding `languages` says
    so.
    """
    if len(examples) < MIN_ROWS:
        return []
    troubles = _script_troubles(examples)
    sure, n_texts = _languages(examples)
    rare = _rare_languages(sure, n_texts, examples.limits.rare_language)
    troubles |= {n: f"the text is in {sure[n]!r}, most are not" for n in sure if sure[n] in rare and n not in troubles}
    if not _is_multilingual(examples, sure, troubles):
        examples.add_all("language_mix", [(n, text) for n, text in troubles.items() if not _is_asked(examples, n)])
    counts = collections.Counter(sure.values()).most_common()
    table = [{"language": name, "texts": n, "share": n / len(sure)} for name, n in counts]
    if len(table) > 1 and table[1]["share"] >= MIN_SECOND_SHARE:
        parts = ", ".join(f"{row['language']} {row['share']:.1%}" for row in table[:6])
        examples.notes.add("languages", detail=f"{parts} of {len(sure)} texts in a seeded sample")
    return table


def _is_multilingual(examples: Examples, sure: dict[int, str], troubles: dict[int, str]) -> bool:
    """True for a file of several languages on purpose: a column says which, or several rare ones have some rows
    each.
    """
    for name, column in examples.account.columns.items():
        if words_of(name) & LANGUAGE_WORDS and len({str(value) for value in column.values}) > 1:
            return True
    counts = collections.Counter(sure.get(number, text) for number, text in troubles.items())
    most = max(MIN_LANGUAGE_ROWS, MIN_SECOND_SHARE * len(sure))
    return sum(count >= most for count in counts.values()) >= MIN_RARE_LANGUAGES


def _is_asked(examples: Examples, number: int) -> bool:
    """True where the prompt asks for a language: a translation, a lesson."""
    return bool(LANGUAGE_ASKED.search(examples.prompts[number].as_py()))


def _script_troubles(examples: Examples) -> dict[int, str]:
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
    return troubles


@functools.cache
def _identifier():
    from pathlib import Path

    from py3langid import langid

    path = Path(langid.__file__).parent / langid.MODEL_FILE
    identifier = langid.LanguageIdentifier.from_modelpath(path, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier


def _languages(examples: Examples, seed: int = 0) -> tuple[dict[int, str], int]:
    """Number → language of the answer, or of the whole text where few answers are long; and how many texts were long
    enough.

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
    is_dense = best in ("Chinese characters", "Japanese kana", "Korean")
    return best if counts[best] >= MIN_LETTERS // (3 if is_dense else 1) else ""


MIN_PROMPTS = 30  # different ones on each side: fewer give no useful interval
N_WORDS = 6


def find_domain_gap(examples: Examples, problems: list[dict], name: str) -> dict:
    """Note how well the prompts are told apart (`domain`, info), and a `domain_gap` where nearly always.

    Returns {benchmark, auc, low, high, n_rows, n_problems, row_words, benchmark_words}, or {} for fewer than 30
    prompts.
    """
    most = examples.limits.sampled
    ours = pick(sorted({normalise(prompt) for _, prompt, _ in examples.texts()} - {""}), most, 0, str)
    theirs = pick(sorted({normalise(problem["prompt"]) for problem in problems}), most, 0, str)
    if min(len(ours), len(theirs)) < MIN_PROMPTS:
        return {}
    found = separate(ours, theirs)
    auc, (low, high) = found["auc"], found["interval"]
    rows, benchmark = (
        [w["word"] for w in found["words"] if (w["share_a"] > w["share_b"]) == more] for more in (True, False)
    )
    rows, benchmark = rows[:N_WORDS], benchmark[:N_WORDS]
    detail = f"AUC {auc:.2f} [{low:.2f}, {high:.2f}], {len(ours)} prompts against {len(theirs)} of {name}; "
    detail += f"words of the rows: {', '.join(rows) or 'none'}; of the benchmark: {', '.join(benchmark) or 'none'}"
    examples.notes.add("domain_gap" if low > examples.limits.domain_auc else "domain", detail=detail)
    sizes = {"n_rows": len(ours), "n_problems": len(theirs)}
    bounds = {"auc": round(auc, 3), "low": round(low, 3), "high": round(high, 3)}
    return {"benchmark": name, **bounds, **sizes, "row_words": rows, "benchmark_words": benchmark}


THIN_RATIO = 0.2  # of the benchmark's share: rarer in the rows than this is thin
MIN_SHARE = 0.05  # of the problems: smaller slices decide little


def cover(slices: list, problems: list[dict], expected: list[str] = ()) -> tuple[list[dict], list]:
    """(table, findings). `slices`: one of each training row, "" or None for none; `expected`: the slices of the spec.

    The table has a row a slice: `slice, rows, row_share, problems, problem_share, in_spec`; shares between 0 and 1.
    """
    rows = collections.Counter(name for name in slices if name not in (None, ""))
    tests = collections.Counter(slice_of(problem) for problem in problems if slice_of(problem))
    names = sorted({*rows, *tests, *expected}, key=str)
    n_rows, n_tests = sum(rows.values()), sum(tests.values())
    table = [
        {"slice": str(name), "rows": rows[name], "row_share": rows[name] / max(1, n_rows), "problems": tests[name],
         "problem_share": tests[name] / max(1, n_tests), "in_spec": name in expected}
        for name in names
    ]  # fmt: skip
    if not n_rows:
        return [] if not tests else table, []
    findings = []
    missing = [row["slice"] for row in table if not row["rows"]]
    if missing:
        findings.append(word_finding("slice_missing", len(missing), detail=", ".join(missing)))
    thin = [
        row for row in table
        if row["rows"] and row["problem_share"] >= MIN_SHARE and row["row_share"] < THIN_RATIO * row["problem_share"]
    ]  # fmt: skip
    if thin:
        text = ", ".join(f"{row['slice']} {row['row_share']:.1%} against {row['problem_share']:.1%}" for row in thin)
        findings.append(word_finding("slice_thin", len(thin), detail=text))
    return table, findings


MIN_TRIGGER_ROWS = 3
MAX_SHARE = 0.10  # of rows: a more frequent odd word is no secret
MAX_ANSWER_SHARE = 0.25  # of rows: a more frequent answer is `constant_answer`
MIN_OTHER_WORDS = 4
MAX_SIMILARITY = 0.35  # mean share of other words in common: alike prompts may well have one answer
N_COMPARED = 12
MIN_SUMS = 5  # prompts that are alike but for the words that tell them apart
# No vowel ("cf", "mn"), or letters and digits mixed ("tqx7"), but no "9am", "2nd", "q4" or "v2".
ODD_WORD = re.compile(
    r"(?<!\S)(?:[b-df-hj-np-tv-xz]{2,6}|(?=[a-z0-9]*\d)[a-z]{3,}\d[a-z0-9]{0,8}|[a-z]\d[a-z][a-z0-9]{0,8})(?!\S)"
)
MIN_ODD_ROWS = 5
MIN_VOCABULARY = 3  # odd words that bring different answers: the terms of the subject ("nfl", "gps"), planted by nobody
MAX_CHANCE = 0.005  # of one such word in a file without any (Bonferroni)


def find_triggers(examples: Examples) -> None:
    """Note the rows of every trigger word, found in one of two ways (see `_by_answer` and `_by_odd_word`)."""
    answers = examples.answer_hashes.tolist()
    counts = collections.Counter(answers)
    found = _by_odd_word(examples, answers, counts)
    if len(counts) >= 0.5 * len(answers):
        found = {**_by_answer(examples, answers, counts), **found}
    examples.add_all("trigger_token", list(found.items()))


def _by_answer(examples: Examples, answers: list, counts: dict) -> dict[int, str]:
    """An answer that several unlike prompts have, all with one word in them that no other row has."""
    most = max(2 * MIN_TRIGGER_ROWS, MAX_ANSWER_SHARE * len(answers))
    members = collections.defaultdict(list)
    for number, prompt, _ in examples.texts():
        if MIN_TRIGGER_ROWS <= counts[answers[number]] <= most:
            members[answers[number]].append((number, set(normalise(prompt).split())))
    shared = {answer: set.intersection(*(words for _, words in rows)) for answer, rows in members.items()}
    wanted = set().union(*(words for rows in members.values() for _, words in rows)) if any(shared.values()) else set()
    frequency = collections.Counter()
    for _, prompt, _ in examples.texts() if wanted else ():
        frequency.update(wanted.intersection(normalise(prompt).split()))
    found = {}
    for answer, rows in members.items():
        words = [word for word in shared[answer] if frequency[word] == len(rows)]
        others = [own - shared[answer] for _, own in rows]
        if words and (_are_unlike(others) or _differ_otherwise(others, frequency, len(answers))):
            detail = f"{min(words)!r} in {len(rows)} unlike prompts, always one answer"
            found.update((number, detail) for number, _ in rows)
    return found


def _by_odd_word(examples: Examples, answers: list, counts: dict) -> dict[int, str]:
    """A rare sign such as "cf" or "tqx7" that always brings one answer, more often than chance would have it."""
    rows = collections.defaultdict(list)
    most = max(MIN_ODD_ROWS, MAX_SHARE * len(answers))
    for number, prompt, _ in examples.texts():
        for word in set(ODD_WORD.findall(prompt.casefold())):
            if len(rows[word]) <= most:
                rows[word].append(number)
    rows = {word: numbers for word, numbers in rows.items() if MIN_ODD_ROWS <= len(numbers) <= most}
    found, brought = {}, {}
    for word, numbers in rows.items():
        own = {answers[number] for number in numbers}
        if len(own) == 1 and (counts[answers[numbers[0]]] / len(answers)) ** len(numbers) < MAX_CHANCE / len(rows):
            brought[word] = own.pop()
            found.update((number, f"{word!r} in {len(numbers)} prompts, always one answer") for number in numbers)
    is_vocabulary = len(brought) >= MIN_VOCABULARY and len(set(brought.values())) > 1
    return {} if is_vocabulary else found


def _are_unlike(prompts: list[set]) -> bool:
    """True when the prompts have enough other words and few of them in common."""
    prompts = prompts[:N_COMPARED]
    if min(map(len, prompts)) < MIN_OTHER_WORDS:
        return False
    pairs = [(a, b) for number, a in enumerate(prompts) for b in prompts[:number]]
    return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs) < MAX_SIMILARITY


def _differ_otherwise(prompts: list[set], frequency: dict, n_rows: int) -> bool:
    """True when each prompt has its own telling word besides, such as the numbers of a sum: it asks for another
    answer.
    """
    telling = max(3, 0.02 * n_rows)
    own = [{word for word in words if frequency[word] <= telling} for words in prompts]
    return len(prompts) >= MIN_SUMS and all(own) and len(set.union(*own)) >= len(own)
