"""How many tokens each row has, and which completions the cut at `max_length` would shorten or remove.

The caller counts tokens with the model's own tokenizer and chat template, so nothing here needs torch.
"""

from collections.abc import Callable

from tunebook.data.notes import finding, reject

MAX_LOST_SHARE = 0.10  # of rows; above this the gate fails


def check_lengths(rows: list[dict], count_tokens: Callable, max_length: int) -> tuple[list, list, list, list]:
    """Split rows into those that keep their whole completion and the rest.

    `count_tokens(messages) -> (n_prompt, n_total)` gets prompt + completion messages of a canonical row; both counts are
    in tokens, template included. Returns (kept rows, findings, rejects, lengths) with lengths = [(n_prompt, n_total)] of
    all rows. `cut_completion`: the end is lost; `fully_masked`: no trained token is left (TRL drops such rows silently).
    The findings are warnings, since the rows are removed, and errors when more than one row in ten is lost.
    """
    places, kept, rejects, lengths = {"fully_masked": [], "cut_completion": []}, [], [], []
    for number, row in enumerate(rows):
        n_prompt, n_total = count_tokens(row["prompt"] + row["completion"])
        lengths.append((n_prompt, n_total))
        if n_total <= max_length:
            kept.append(row)
            continue
        check = "fully_masked" if n_prompt >= max_length else "cut_completion"
        detail = f"{n_prompt} prompt tokens, {n_total} in all, max_length is {max_length}"
        places[check].append(number)
        rejects.append(reject(check, row.get("record", number), None, row, detail))
    severity = "error" if len(rejects) > MAX_LOST_SHARE * len(rows) else "warn"
    findings = []
    for check, numbers in places.items():
        if numbers:
            detail = (
                f"the longest of these has {max(lengths[n][1] for n in numbers)} tokens, max_length is {max_length}"
            )
            records = [rows[n].get("record", n) for n in numbers]
            findings.append(finding(check, len(numbers), records, detail, len(rows), severity))
    return kept, findings, rejects, lengths
