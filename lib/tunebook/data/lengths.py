"""How many tokens each row has, which completions the cut at `max_length` would shorten, and whether the mask is right.

The caller measures rows with the model's own tokenizer and chat template, so nothing here needs torch.
"""

from collections.abc import Callable

from tunebook.data.notes import reject, word_finding

MAX_LOST_SHARE = 0.10  # of rows; above this the gate fails
LOST = ("fully_masked", "cut_completion", "prompt_prefix")


def check_lengths(rows: list[dict], measure: Callable, max_length: int) -> tuple[list, list, list, list]:
    """Split rows into those that keep their whole completion and the rest.

    `measure(messages) -> (n_prompt, n_total, trouble)` gets prompt + completion messages of a canonical row; both counts are
    in tokens, template included (see `models.templates.measure_row`). Returns (kept rows, findings, rejects, lengths) with
    lengths = [(n_prompt, n_total)] of all rows. `cut_completion`: the end is lost; `fully_masked`: no trained token is left
    (TRL drops such rows silently). These are warnings, since the rows are removed, and errors when more than one row in ten
    is lost. `prompt_prefix` and `end_token` are errors.
    """
    places, kept, rejects, lengths = {}, [], [], []
    for number, row in enumerate(rows):
        n_prompt, n_total, trouble = measure(row["prompt"] + row["completion"])
        lengths.append((n_prompt, n_total))
        check = trouble
        if not trouble and n_total > max_length:
            check = "fully_masked" if n_prompt >= max_length else "cut_completion"
        if check:
            places.setdefault(check, []).append(number)
        if check not in LOST:
            kept.append(row)
            continue
        detail = f"{n_prompt} prompt tokens, {n_total} in all, max_length is {max_length}"
        detail = "" if trouble else detail
        rejects.append(reject(check, row.get("record", number), None, row, detail))
    severity = "error" if len(rejects) > MAX_LOST_SHARE * len(rows) else "warn"
    findings = [
        _word(check, numbers, rows, lengths, max_length, severity)
        for check, numbers in sorted(places.items(), reverse=True)
    ]
    return kept, findings, rejects, lengths


def _word(check: str, numbers: list[int], rows: list[dict], lengths: list, max_length: int, severity: str):
    records = [rows[n].get("record", n) for n in numbers]
    if check not in ("fully_masked", "cut_completion"):
        return word_finding(check, len(numbers), records, "with this tokenizer and chat template", len(rows))
    detail = f"the longest of these has {max(lengths[n][1] for n in numbers)} tokens, max_length is {max_length}"
    return word_finding(check, len(numbers), records, detail, len(rows), severity)
