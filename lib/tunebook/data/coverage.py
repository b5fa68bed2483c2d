"""Which slices of the task the training rows cover, held against the specification and the benchmark.

Only where rows or problems name a `slice`. Does not invent slices.
"""

import collections

from tunebook.data.notes import finding
from tunebook.data.splits import slice_of

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
        findings.append(finding("slice_missing", len(missing), detail=", ".join(missing)))
    thin = [
        row for row in table
        if row["rows"] and row["problem_share"] >= MIN_SHARE and row["row_share"] < THIN_RATIO * row["problem_share"]
    ]  # fmt: skip
    if thin:
        text = ", ".join(f"{row['slice']} {row['row_share']:.1%} against {row['problem_share']:.1%}" for row in thin)
        findings.append(finding("slice_thin", len(thin), detail=text))
    return table, findings
