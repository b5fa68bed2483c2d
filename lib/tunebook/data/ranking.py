"""Answers beside what says which of them is better, or whether one is good: scores, ranks, a strength, a name, a label.

A direction that the columns do not say is never guessed: what names none of the answers is a problem of the row.
"""

import json
import re

from tunebook.data.messages import RowProblem, is_message, turn, unpacked
from tunebook.errors import InputProblem

STEMS = "response answer completion output conversation reply summary model_output candidate generation".split()
LABELS = (("0", "1"), ("1", "2"), ("a", "b"))
SCORES = "score rating overall_score overall_rating winner_model reward".split()
# HelpSteer: below 0 the first is better, above it the second
STRENGTHS = ("preference_strength", "overall_preference")
BETTER = ("better_response_id safer_response_id winner preferred preferred_response better better_response preference"
          " choice chosen_response human_preference label labels").split()  # fmt: skip
TIES = ("tie", "both", "none", "equal", "same", "draw", "neither", "bothbad")
JUDGING_WORDS = {"true": True, "1": True, "good": True, "desirable": True, "yes": True, "false": False, "0": False,
                 "bad": False, "undesirable": False, "no": False}  # fmt: skip
RANK_WORDS = frozenset(("rank", "ranks", "ranking", "place", "position"))


def judged_pair(by_lower: dict, prompt: str | None) -> dict[str, str]:
    """The mapping of columns that hold two answers, told apart by their last sign, and what says which is better; {}
    where there are none. `by_lower`: lower name → column.
    """
    for first, second in LABELS:
        for stem in STEMS:
            sides = _pair(by_lower, stem, first, second)
            if not sides or not (prompt or stem == "conversation"):
                continue
            found = {"prompt": prompt} if prompt and stem != "conversation" else {}
            found["candidates"] = "+".join(sides)
            scores = next((pair for name in SCORES if (pair := _pair(by_lower, name, first, second))), None)
            strength = next((by_lower[name] for name in STRENGTHS if name in by_lower), "")
            better = next((by_lower[name] for name in BETTER if name in by_lower), "")
            if scores:
                return found | {"scores": "+".join(scores)}
            if strength:
                return found | {"scores": f"-{strength}+{strength}"}
            return found | {"better": better} if better else {}
    return {}


def several_answers(sample: list[dict]) -> str:
    """A sentence for rows that hold several answers where no column is known to say which is better; "" for others."""
    row = next((row for row in sample if isinstance(row, dict)), {})
    by_lower = {str(name).strip().lower(): name for name in row}
    pairs = [_pair(by_lower, stem, *labels) for labels in LABELS for stem in STEMS]
    pair = next(filter(None, pairs), ())
    lists = {name: value for name, value in row.items() if isinstance(value, list) and len(value) > 1}
    texts = [name for name, value in lists.items() if all(isinstance(item, str) for item in value)]
    numbers = [name for name, value in lists.items() if all(isinstance(item, int | float) for item in value)]
    if pair:
        return (
            f"{pair[0]} and {pair[1]} look like two answers: say which is better, with --map"
            f" 'candidates={pair[0]}+{pair[1]}' and --map better=COLUMN (it names one) or --map scores=COLUMN+COLUMN"
        )
    if texts and numbers and len(lists[texts[0]]) == len(lists[numbers[0]]):
        return (
            f"{texts[0]} holds several answers: where {numbers[0]} holds a number for each, give --map"
            f" candidates={texts[0]} and --map scores={numbers[0]}, or scores=-{numbers[0]} where the lowest is best"
        )
    return ""


def _pair(by_lower: dict, stem: str, first: str, second: str) -> tuple[str, str] | None:
    for between in ("_", "", " ", "-"):
        names = [f"{stem}{between}{label}" for label in (first, second)]
        if all(name in by_lower for name in names):
            return by_lower[names[0]], by_lower[names[1]]
    return None


def check_direction(mapping: dict[str, str]) -> None:
    """InputProblem for ranks that would be taken for scores, so that the worst answer were chosen, and for scores of
    no answers.
    """
    if mapping.keys() & {"scores", "better"} and "candidates" not in mapping:
        raise InputProblem("mapping: scores and better choose among candidates; give --map 'candidates=COLUMN+COLUMN'")
    scores = mapping.get("scores", "")
    for path in scores.split("+"):
        if set(re.findall(r"[a-z]+", path.lower())) & RANK_WORDS and not path.startswith("-"):
            raise InputProblem(
                f"mapping scores={scores}: the highest score is taken for the best, and of ranks the lowest is; write"
                f" scores=-{path}, or name the column otherwise where the highest is best"
            )


def listed(values: list) -> list:
    """The answers, or their scores, of columns that hold one each or a list of them; a conversation is one answer."""
    values = [unpacked(value) for value in values]
    is_many = [isinstance(value, list) and not (value and is_message(value[0])) for value in values]
    return [item for value, many in zip(values, is_many, strict=True) for item in (value if many else [value])]


def conversations(prompt, answers: list, paths: list[str]) -> list[list[dict]] | None:
    """Whole conversations of a prompt and answers that hold a text for each turn, as a list or as JSON text; None for
    any others. RowProblem for a turn without a text, and for columns of different lengths.
    """
    columns = [("the prompt", _texts(prompt)), *zip(paths, map(_texts, answers), strict=True)]
    asked = columns[0][1]
    if asked is None or len(paths) < 2 or not any(texts for _, texts in columns[1:]):
        return None
    for name, texts in columns:
        if len(texts or ()) != len(asked):
            raise RowProblem("alternation", f"the prompt has {len(asked)} turns, {name} has {len(texts or ())}")
        if blank := next((n for n, text in enumerate(texts, 1) if not (text or "").strip()), 0):
            raise RowProblem("empty_field", f"turn {blank} of {name} is {json.dumps(texts[blank - 1])}")
        if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
            raise RowProblem("encoding", f"{name} holds half of a surrogate pair")
    pairs = [zip(asked, texts, strict=True) for _, texts in columns[1:]]
    return [[part for ask, answer in side for part in turn("user", ask) + turn("assistant", answer)] for side in pairs]


def _texts(value) -> list | None:
    """The texts, and nulls, of a list or of a JSON text that holds one; None for anything else."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    is_list = isinstance(value, list) and value and all(text is None or isinstance(text, str) for text in value)
    return value if is_list else None


def scored(value, sign: str):
    """A score, or a list of them, as numbers, also from the text of a csv cell; with the other sign, so that the lowest
    is the best, where `sign` begins with a minus. What is no number stays and is found later.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value.strip().lower())  # pandas writes True
        except (ValueError, RecursionError):
            return value
    if isinstance(value, list):
        return [scored(item, sign) for item in value]
    return -value if sign[:1] == "-" and isinstance(value, int | float) else value


def best_and_worst(candidates: list, scores: list | None, better, paths: list[str]) -> dict:
    """Chosen and rejected: the candidate that `better` names and the other, or those of the highest and the lowest
    score. `paths` are the columns of the candidates. RowProblem where none is better, or nothing says which.
    """
    if better is not None:
        place = _place(better, paths) if len(candidates) == 2 == len(paths) else None
        if place is None:
            raise RowProblem("mixed_types", f"{str(better)[:60]!r} names none of {', '.join(paths)}")
        return {"chosen": candidates[place], "rejected": candidates[1 - place]}
    if not scores or len(scores) != len(candidates) or len(scores) < 2:
        raise RowProblem("missing_field", f"{len(candidates)} candidates have {len(scores or ())} scores")
    if not all(isinstance(score, int | float) for score in scores):
        raise RowProblem("mixed_types", f"a score is {next(s for s in scores if not isinstance(s, int | float))!r}")
    if max(scores) == min(scores):
        raise RowProblem("equal_scores", f"all are {scores[0]:g}")
    return {name: candidates[scores.index(of(scores))] for name, of in (("chosen", max), ("rejected", min))}


def _place(better, paths: list[str]) -> int | None:
    """Which of two columns a value such as 0, "1", "model_a" or "response_2" names; None for neither."""
    if isinstance(better, bool):
        return None
    text = str(int(better) if isinstance(better, float) and better.is_integer() else better).strip().lower()
    if any(word in TIES for word in re.findall(r"[a-z]+", text)):
        raise RowProblem("equal_scores", f"it says {text!r}")
    labels = [re.search(r"(\d+|[a-z])\Z", path.lower()) for path in paths]
    last = re.search(r"(?:\A|[^a-z0-9]|[a-z](?=\d))(\d+|[a-z])\Z", text)
    named = [at for at, (path, label) in enumerate(zip(paths, labels, strict=True))
             if text == path.lower() or last and label and label[1] == last[1]]  # fmt: skip
    return named[0] if len(named) == 1 else None


def are_judgements(values) -> bool:
    """True for values that say good or bad: true and false, also as 0 and 1 or as words."""
    return bool(values) and all(judgement_of(value) is not None for value in values)


def judgement_of(value) -> bool | None:
    """KTO's label as a truth value, None where it is no such thing."""
    if isinstance(value, str):
        return JUDGING_WORDS.get(value.strip().lower())
    return bool(value) if value in (0, 1) and isinstance(value, bool | int | float) else None
