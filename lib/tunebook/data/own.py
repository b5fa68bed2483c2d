"""The user's own rows made ready for a study: schema checked, exact duplicates taken out, and problems made from them.

Does not decide how many rows a study takes; every row that is left out is kept in `rejects` with its reason.
"""

from dataclasses import dataclass

from tunebook.data.examples import read_examples
from tunebook.data.notes import reject
from tunebook.data.repetition import find_conflicts, find_exact_duplicates
from tunebook.data.sources import read_rows
from tunebook.data.splits import answer_text, group_of, pick, prompt_key, prompt_text, slice_of, split_rows
from tunebook.evaluation.extraction import extract


@dataclass
class OwnRows:
    """Canonical rows, each with its record number in `record`."""

    rows: list[dict]
    findings: list
    rejects: list
    n_records: int
    seed: int

    def split(self, shares: tuple[float, float, float]) -> dict[str, list[dict]]:
        """The rows by split."""
        return split_rows(self.rows, self.seed, shares)

    def keep(self, rows: list[dict], n_wanted: int, split: str) -> list[dict]:
        """At most `n_wanted` of the rows (0 = all); the others go to the rejects, since they take no part in the study."""
        chosen = pick(rows, n_wanted, self.seed, prompt_key)
        kept = {id(row) for row in chosen}
        left = [row for row in rows if id(row) not in kept]
        self.leave_out(left, f"there are more {split} rows than the {n_wanted} wanted")
        return chosen

    def leave_out(self, rows: list[dict], reason: str) -> None:
        """These rows take no part in the study."""
        self.rejects += [reject("not_used", row["record"], None, row, reason) for row in rows]


def read_own(source: str, revision: str, mapping, seed: int) -> OwnRows:
    """Read and clean the user's rows. Columns without a mapping give no rows, only the finding `columns`."""
    raw = read_rows(source, revision=revision)
    examples = read_examples(raw, mapping)
    if examples.notes.count("columns"):
        return OwnRows([], raw.findings + examples.notes.findings(), [], raw.n_records, seed)
    rejects = raw.rejects + examples.rejects
    repeated = find_exact_duplicates(examples)
    find_conflicts(examples)
    rows = []
    for number, row in enumerate(examples):
        row["record"] = examples.place(number)[0]
        row |= {"group": group_of(row)} if row.get("group") not in (None, "") else {}
        if number in repeated:
            reason = f"the same as row {examples.place(repeated[number])[0]}"
            rejects.append(reject("exact_duplicates", *examples.place(number), row, reason))
        else:
            rows.append(row)
    return OwnRows(rows, raw.findings + examples.notes.findings(), rejects, raw.n_records, seed)


def make_own_problems(rows: list[dict]) -> list[dict]:
    """Benchmark rows of kind `answer` from canonical rows: right is only the row's own answer, white space apart, both as the
    extractor reads them.

    Good for labels, numbers and short texts; for free text it is far too strict, so give a benchmark file there.
    `messages` holds the whole prompt where it is more than one user turn.
    """
    problems = []
    for row in rows:
        answer = answer_text(row)
        expected = " ".join(extract(answer, {"kind": "answer", "canonical_solution": answer}).split())
        problem = {
            "task_id": f"own/{row['record']}",
            "prompt": prompt_text(row),
            "entry_point": "answer",
            "canonical_solution": answer,
            "test": f"EXPECTED = {expected!r}\n\n\ndef check(answer):\n"
            '    assert " ".join(answer.split()) == EXPECTED, f"expected {EXPECTED!r}"\n',
            "kind": "answer",
            "slice": slice_of(row),
        }
        if len(row["prompt"]) > 1:
            problem["messages"] = row["prompt"]
        problems.append(problem)
    return problems
