"""Judge an answer: it is right when it fires at the same times as the expected expression.

Only white space and surrounding backticks or quotes are forgiven. Does not search an answer for an expression inside
prose: taking the answer out of a completion is the extractor's work, the same for every model.
"""

from tunebook.tasks.cron.expression import parse


def check_answer(answer: str, expected: str) -> None:
    """Raise AssertionError, with a short reason, unless `answer` fires at the same times as `expected`.

    >>> check_answer("`30 9 * * MON-FRI`", "30 9 * * 1-5")
    """
    wanted = parse(expected)
    text = str(answer).strip().strip("`'\"").strip()
    try:
        found = parse(text)
    except ValueError as problem:
        raise AssertionError(f"not a cron expression: {problem}") from None
    if found != wanted:
        raise AssertionError(f"{text} does not fire at the same times as {expected}")
