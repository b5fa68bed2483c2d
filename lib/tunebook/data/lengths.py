"""How many tokens each row has, which completions the cut at `max_length` would shorten, and whether the mask is right.

The caller measures rows with the model's own tokenizer and chat template, so nothing here needs torch.
"""

from collections.abc import Callable

from tunebook.data.notes import reject, word_finding

MAX_LOST_SHARE = 0.10  # of rows; above this the gate fails
LOST = ("fully_masked", "cut_completion", "prompt_prefix", "template_refuses")


def check_lengths(rows: list[dict], measure: Callable, max_length: int) -> tuple[list, list, list, list]:
    """Split rows into those that keep their whole completion and the rest.

    `measure(row) -> (n_prompt, n_total, trouble, n_trained)` gets a canonical row; counts are in tokens, template
    included, `n_prompt` those before the first trained one (see `models.rendering.measure_row`). A trouble is the name
    of a check, with the template's words after ": ". Returns (kept rows, findings, rejects, lengths) with lengths =
    [(n_trained, n_total)] of all rows. `cut_completion`: the end is lost; `fully_masked`: no trained token is left (TRL
    drops such rows silently). These are warnings, since the rows are removed, and errors when more than one row in ten
    is lost. `prompt_prefix`, `end_token`, `not_rendered` and `template_refuses` are errors.
    """
    places, kept, rejects, lengths, words = {}, [], [], [], {}
    for number, row in enumerate(rows):
        n_prompt, n_total, trouble, n_trained = measure(row)
        lengths.append((n_trained, n_total))
        check, _, said = trouble.partition(": ")
        words.setdefault(check, said)
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
        _word(check, numbers, rows, lengths, (max_length, severity, words.get(check, "")))
        for check, numbers in sorted(places.items(), reverse=True)
    ]
    return kept, findings, rejects, lengths


def _word(check: str, numbers: list[int], rows: list[dict], lengths: list, facts: tuple):
    max_length, severity, said = facts
    records = [rows[n].get("record", n) for n in numbers]
    if check not in ("fully_masked", "cut_completion"):
        return word_finding(check, len(numbers), records, said or "with this tokenizer and chat template", len(rows))
    detail = f"the longest of these has {max(lengths[n][1] for n in numbers)} tokens, max_length is {max_length}"
    return word_finding(check, len(numbers), records, detail, len(rows), severity)
