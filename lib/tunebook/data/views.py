"""What notebook 01 shows of a judgement: clusters of duplicates, rows held against the benchmarks, the verdict in a
line.

Every text is short and redacted. Does not judge.
"""

from tunebook.data.checks.secrets import redact
from tunebook.data.splits import answer_text, prompt_text
from tunebook.data.validate import Judgement
from tunebook.terminal import counted

N_SHOWN = 20
N_CHARACTERS = 110


def verdict_line(judgement: Judgement, n_train: int, n_rejected: int) -> str:
    """WARN: 2,000 records, 0 errors, 1 warning; 1,950 rows to train, 12 left out."""
    findings = counted([item.to_dict() for item in judgement.findings])
    return (
        f"{judgement.verdict.upper()}: {judgement.n_rows:,} records, {findings}; "
        f"{n_train:,} rows to train, {n_rejected:,} left out (rejects.jsonl says why)"
    )


def trained_line(rows: list[dict], lengths: list[tuple[int, int]], train_on: str) -> str:
    """trained: 20 of 30 assistant turns (train_on: all), 812 of 2,310 tokens. `lengths` as of `check_lengths`."""
    turns = [(turn, is_answer) for row in rows for side, is_answer in ((row["prompt"], False), (row["completion"],
    True))
             for turn in side if turn["role"] == "assistant"]  # fmt: skip
    n_trained = sum(is_answer or turn.get("weight") == 1 for turn, is_answer in turns)
    n_turns = len(turns) + sum(row.get("cut_turns", 0) for row in rows)
    tokens, total = (sum(counts) for counts in zip(*lengths, strict=True)) if lengths else (0, 0)
    return (
        f"trained: {n_trained:,} of {n_turns:,} assistant turns (train_on: {train_on}), {tokens:,} of {total:,} tokens"
    )


def compared_line(judgement: Judgement) -> str:
    """compared with 164 of 164 problems of humaneval, 20 of 20 of test"""
    parts = (f"{n} of {total} problems of {name}" for name, (n, total) in judgement.compared.items())
    return f"compared with {', '.join(parts) or 'no benchmark'}"


def cluster_table(judgement: Judgement, rejects: list[dict]) -> list[dict]:
    """Groups of rows that repeat, largest first: `kind, rows, numbers, text` (row numbers of the source)."""
    exact = {}
    for item in rejects:
        if item["check"] == "exact_duplicates":
            exact.setdefault(_excerpt(item["record"]), []).append(item["row"])
    found = [
        {"kind": "exact", "rows": len(numbers) + 1, "numbers": f"{_list(numbers)} (removed)", "text": text}
        for text, numbers in exact.items()
    ]
    places = {judgement.examples.place(number)[0]: number for number in range(len(judgement.examples))}
    for numbers in judgement.clusters:
        text = _excerpt(judgement.examples.row(places[numbers[0]]))
        found.append({"kind": "near", "rows": len(numbers), "numbers": _list(numbers), "text": text})
    return sorted(found, key=lambda group: -group["rows"])[:N_SHOWN]


def contamination_table(judgement: Judgement, removed: list[dict]) -> list[dict]:
    """Rows that hold a problem of a benchmark: `row, benchmark, problem, how, removed`; `removed`: matches taken out
    before.
    """
    matches = [{**match, "removed": True} for match in removed] + [
        {**match, "removed": False} for match in judgement.examples.matches
    ]
    return matches[:N_SHOWN]


def _excerpt(row: dict) -> str:
    text = " ".join(f"{prompt_text(row)} → {answer_text(row)}".split())
    return redact(text)[:N_CHARACTERS]


def _list(numbers: list) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (" ..." if len(numbers) > 8 else "")


def findings_table(findings: list) -> list[dict]:
    """Findings as rows: `severity, check, rows, message, fix`."""
    return [
        {"severity": f.severity, "check": f.check, "rows": f.count, "message": f.message, "fix": f.fix}
        for f in findings
    ]
