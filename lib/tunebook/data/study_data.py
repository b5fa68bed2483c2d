"""The rows and problems of one study: train, dev and test, from a shipped task or from the user's own files.

Every removed row is in `rejects` with its reason. Does not count tokens (`lengths`) and does not write files.
"""

import re
from dataclasses import dataclass, field, replace

from tunebook.data.checks.code import find_copies
from tunebook.data.checks.contamination import find_contamination, find_shared_runs
from tunebook.data.checks.repeats import find_conflicts, find_exact_duplicates
from tunebook.data.examples import Examples, Thresholds, read_examples
from tunebook.data.mapping import Reading
from tunebook.data.notes import Notes, merge_findings, reject, word_finding
from tunebook.data.row_types import demonstrations
from tunebook.data.rows import rows_from_records
from tunebook.data.sources import read_rows
from tunebook.data.splits import SHARES, answer_text, group_of, normalise, prompt_key, prompt_text, slice_of, split_rows
from tunebook.errors import InputProblem
from tunebook.evaluation.reading import math_answers
from tunebook.evaluation.shapes import exact_problem, free_text_line, number_problem
from tunebook.models.templates import THOUGHT_KEYS
from tunebook.picking import pick

MAX_GENERATED_RATIO = 8
SPARE_RATIO = 1.1
ANSWERS = ("completion", "chosen", "rejected")


@dataclass
class StudyData:
    """What notebook 01 leaves. `train`, `dev`, `test`: canonical rows; `dev_problems`, `test_problems`: benchmark rows.

    With generated problems `dev[i]` belongs to `dev_problems[i]`, and `test[i]` to `test_problems[i]`. `dev_problems`
    is empty for the user's own benchmark file, which has no dev part; choices are then "selected on test". `matches`:
    the rows that were removed since they hold a test problem (see `Examples.matches`); `slices`: those of the task's
    specification; `account`: what becomes of every column of the user's file (see `checks.accounting`).
    """

    train: list[dict]
    dev: list[dict]
    test: list[dict]
    dev_problems: list[dict]
    test_problems: list[dict]
    findings: list
    name: str
    rejects: list = field(default_factory=list)
    n_records: int = 0
    matches: list = field(default_factory=list)
    slices: tuple = ()
    account: list = field(default_factory=list)

    def benchmark(self):
        """The test problems as a `Benchmark`; InputProblem where the rows leave none."""
        from tunebook.evaluation.benchmark import from_problems

        if not self.test_problems:
            raise InputProblem(
                f"{self.name}: of {self.n_records} rows none is left for a test problem: "
                f"run `tunebook validate {self.name}` to see what is wrong with them, or name a benchmark file"
            )
        return from_problems(f"{self.name}/test", self.test_problems, source=self.name)


@dataclass(frozen=True)
class Sizes:
    """How many training rows, dev and test problems a study takes, 0 for all, and the seed that chooses them.

    A shipped task needs `n_rows`. `benchmark_limit`: at most so many test problems.
    """

    n_rows: int = 0
    n_dev: int = 0
    n_test: int = 0
    benchmark_limit: int = 0
    seed: int = 0

    def __post_init__(self):
        if min(self.n_rows, self.n_dev, self.n_test, self.benchmark_limit) < 0:
            raise InputProblem("n_rows, n_dev, n_test and benchmark_limit must not be negative; 0 means all")


def load_study_data(
    task: str,
    rows: str,
    benchmark: str,
    sizes: Sizes = Sizes(),
    reading: Reading = Reading(),
    limits: Thresholds | None = None,
) -> StudyData:
    """Collect the data of a study; the same arguments always give the same rows.

    `rows` "" takes the shipped `task`, else it is a file or a Hub data set, read by `reading` (see
    `mapping.reading_of`). `benchmark` "" makes the test problems from test rows, else it names a benchmark file. Raises
    InputProblem when an argument cannot be used.
    """
    if rows:
        data = _own_data(rows, sizes, bool(benchmark), reading)
    elif task:
        data = _task_data(task, sizes, bool(benchmark))
    else:
        raise InputProblem("neither rows nor task is given; name a file of rows or a shipped task")
    if benchmark:
        data.test, data.test_problems = [], _load_benchmark(benchmark)
        _remove_contaminated(data, benchmark, limits)
    _limit_problems(data, sizes.benchmark_limit, sizes.seed)
    _remove_leaked(data, limits)
    if line := free_text_line(data.test_problems):
        data.findings.append(word_finding("free_text", len(data.test_problems), detail=line))
    if not data.train:
        data.findings.append(word_finding("no_rows", 0, detail="no row is left for training"))
    data.findings = merge_findings(data.findings)
    return data


def without_thoughts(data: StudyData, thinking: str) -> StudyData:
    """With `thinking` "off" the same data without the thoughts of answers that are trained, at their head or in keys of
    their own, and a finding that counts them.

    A template that knows the mode puts an empty thought into the prompt: a thought that follows it would be trained as
    what comes after thinking.
    """
    if thinking != "off":
        return data
    notes, parts = Notes(), {}
    for part in ("train", "dev", "test"):
        parts[part] = []
        for row in getattr(data, part):
            shorter = {
                key: [_thoughtless(turn) if key in ANSWERS or turn.get("weight") == 1 else turn for turn in row[key]]
                for key in ("prompt", *ANSWERS)
                if isinstance(row.get(key), list)
            }
            if any(shorter[key] != row[key] for key in shorter):
                notes.add("thoughts_left_out", row.get("record"))
            parts[part].append({**row, **shorter})
    notes.n_rows = sum(map(len, parts.values()))
    return replace(data, findings=merge_findings(data.findings, notes.findings()), **parts)


def _thoughtless(turn: dict) -> dict:
    text = turn.get("content")
    if turn.get("role") != "assistant":
        return turn
    turn = {key: value for key, value in turn.items() if key not in THOUGHT_KEYS}
    if not isinstance(text, str) or not text.lstrip().startswith("<think>"):
        return turn
    head, closed, rest = text.partition("</think>")
    return {**turn, "content": rest.lstrip()} if closed else turn  # an open one is cut off, and a finding already


def _limit_problems(data: StudyData, limit: int, seed: int) -> None:
    """Keep at most `limit` test problems, 0 = all, with their rows."""
    chosen = pick(data.test_problems, limit, seed, lambda problem: problem["task_id"])
    kept = {id(problem) for problem in chosen}
    data.test = [row for row, problem in zip(data.test, data.test_problems, strict=False) if id(problem) in kept]
    data.test_problems = chosen


def _load_benchmark(benchmark: str) -> list[dict]:
    from tunebook.evaluation.benchmark import load_benchmark

    return list(load_benchmark(benchmark).problems)


def _task_data(name: str, sizes: Sizes, has_benchmark: bool) -> StudyData:
    """Generate rows until every split has enough; equal prompts are generated once, and each split is drawn as rows
    come.
    """
    from tunebook import tasks

    if not sizes.n_rows:
        raise InputProblem(f"n_rows is 0; the shipped task {name} generates rows, so say how many")
    task, seed = tasks.load(name), sizes.seed
    wanted = {"train": sizes.n_rows, "dev": sizes.n_dev, "test": sizes.n_test}
    n_first = int(SPARE_RATIO * max(wanted[split] / share for split, share in zip(wanted, SHARES, strict=True)))
    for factor in (1, 2, 4, MAX_GENERATED_RATIO):
        parts = split_rows(_distinct(task.make_rows(n_first * factor, seed)), seed)
        parts |= {split: _distinct(parts[split], _phrase) for split in ("dev", "test")}
        if all(len(parts[split]) >= count for split, count in wanted.items()):
            break
    else:
        found = ", ".join(f"{split} {len(parts[split])} of {count}" for split, count in wanted.items())
        raise InputProblem(f"task {name} has not enough different rows ({found}); ask for fewer")
    train, dev, test = (pick(parts[split], count, seed, prompt_key) for split, count in wanted.items())
    problems = [task.make_problems(part) if part and not has_benchmark else [] for part in (dev, test)]
    slices = tuple(getattr(task, "spec", {}).get("slices", ()))
    return StudyData(train, dev, test, *problems, [], name, [], n_first * factor, slices=slices)


def _own_data(source: str, sizes: Sizes, has_benchmark: bool, reading: Reading) -> StudyData:
    """The user's rows, cleaned and split; test problems from test rows where there is no benchmark."""
    own, counts = read_own(source, reading, sizes.seed), (sizes.n_rows, sizes.n_dev, sizes.n_test)
    if not has_benchmark and any("text" in row for row in own.rows):
        raise InputProblem(f"{source}: plain text rows have no question to test; give a benchmark file")
    if has_benchmark:
        parts, counts = own.split((1.0, 0.0, 0.0)), (counts[0], 0, 0)
        own.leave_out(parts["test"], "its split_hint is test, and the benchmark file is the test")
        parts["test"] = []
    else:
        parts = own.split(SHARES)
    mark = mark_of([row for part in parts.values() for row in demonstrations(part)]) if not has_benchmark else ""
    for name in ("dev", "test"):
        parts[name] = own.without_problem(parts[name], name, mark)
    train, dev, test = (own.keep(parts[name], n, name) for name, n in zip(parts, counts, strict=True))
    problems = ([], []) if has_benchmark else (make_own_problems(dev, mark), make_own_problems(test, mark))
    return StudyData(train, dev, test, *problems, own.findings, source, own.rejects, own.n_records, account=own.account)


def _distinct(rows: list[dict], key=prompt_key) -> list[dict]:
    """The first row of each key, by default of each normalised prompt."""
    first = {}
    for row in rows:
        first.setdefault(key(row), row)
    return list(first.values())


def _phrase(row: dict) -> str:
    """What a problem is made of: a shipped task asks each phrase once, whatever words carried it in the row."""
    return normalise(row.get("phrase") or prompt_key(row))


def _remove_contaminated(data: StudyData, benchmark: str, limits: Thresholds | None) -> None:
    """Take rows that hold a benchmark problem out of train and dev; as they are removed this is a warning."""
    for name in ("train", "dev"):
        rows = getattr(data, name)
        examples = examples_of(rows, limits)
        found = find_contamination(examples, data.test_problems, benchmark).tolist()
        found += find_copies(examples, data.test_problems, benchmark, set(found))
        bad = {int(examples.positions[number]) for number in found}
        data.matches += examples.matches
        setattr(data, name, [row for number, row in enumerate(rows) if number not in bad])
        reason = f"holds a problem of {benchmark}"
        data.rejects += [reject("contamination", rows[n].get("record", n), None, rows[n], reason) for n in sorted(bad)]
        for item in (item for item in examples.notes.findings() if item.check.startswith("contamination")):
            detail = f"in {name}, removed from it; {benchmark}"
            data.findings.append(word_finding(item.check, item.count, item.rows, detail=detail, severity="warn"))


def examples_of(rows: list[dict], limits: Thresholds | None = None) -> Examples:
    """Examples from canonical rows in memory; row numbers are those of the user's file, else positions in this list."""
    marks = (("text", "text"), ("rejected", "preference"), ("label", "kto"))
    kind = next((kind for mark, kind in marks if rows and mark in rows[0]), "prompt_completion")
    return read_examples(rows_from_records(rows, "rows", "memory"), Reading(kind), limits)


def _remove_leaked(data: StudyData, limits: Thresholds | None) -> None:
    """Take rows out of train whose normalised prompt is also in dev or test."""
    notes = Notes(len(data.train))
    elsewhere = {prompt_key(row): name for name in ("dev", "test") for row in getattr(data, name) if row["prompt"]}
    kept = []
    for number, row in enumerate(data.train):
        other = elsewhere.get(prompt_key(row)) if row["prompt"] else None
        if other is None:
            kept.append(row)
            continue
        record = row.get("record", number)
        notes.add("split_leakage", record, None, f"also in {other}")
        data.rejects.append(reject("split_leakage", record, None, row, f"its prompt is also in {other}"))
    data.train = kept
    data.findings += notes.findings()
    held_out = [row for row in data.dev + data.test if "record" in row]
    if held_out and kept:
        examples = examples_of(kept, limits)
        find_shared_runs(examples, held_out, "dev or test")
        data.findings += [item for item in examples.notes.findings() if item.check == "split_leakage_near"]


@dataclass
class OwnRows:
    """Canonical rows, each with its record number in `record`."""

    rows: list[dict]
    findings: list
    rejects: list
    n_records: int
    seed: int
    account: list = field(default_factory=list)

    def split(self, shares: tuple[float, float, float]) -> dict[str, list[dict]]:
        """The rows by split."""
        return split_rows(self.rows, self.seed, shares)

    def keep(self, rows: list[dict], n_wanted: int, split: str) -> list[dict]:
        """At most `n_wanted` of the rows (0 = all); the others go to the rejects, since they take no part in the
        study.
        """
        chosen = pick(rows, n_wanted, self.seed, prompt_key)
        kept = {id(row) for row in chosen}
        left = [row for row in rows if id(row) not in kept]
        self.leave_out(left, f"there are more {split} rows than the {n_wanted} wanted")
        return chosen

    def without_problem(self, rows: list[dict], split: str, mark: str = "") -> list[dict]:
        """The rows that make a problem: one answer in words that is not KTO's bad one, with the `mark` of the others;
        the rest leave.
        """
        good = [
            r for r in demonstrations(rows) if len(r["completion"]) == 1 and not r["completion"][0].get("tool_calls")
        ]
        kept = {id(row) for row in good}
        left = [row for row in rows if id(row) not in kept]
        self.leave_out(
            left, f"its answer is a tool call, several turns, or marked as bad, which makes no {split} problem"
        )
        marked = marked_rows(good, mark)
        kept = {id(row) for row in marked}
        unmarked = [row for row in good if id(row) not in kept]
        self.leave_out(unmarked, f"its answer has no {mark}, as the others have, by which it could be judged")
        return marked

    def leave_out(self, rows: list[dict], reason: str) -> None:
        """These rows take no part in the study."""
        self.rejects += [reject("not_used", row["record"], None, row, reason) for row in rows]


def read_own(source: str, reading: Reading, seed: int) -> OwnRows:
    """Read and clean the user's rows. Columns without a mapping give no rows, only the finding `columns`."""
    raw = read_rows(source, revision=reading.revision)
    examples = read_examples(raw, reading)
    account = examples.account.table()
    if examples.notes.count("columns"):
        return OwnRows([], raw.findings + examples.notes.findings(), [], raw.n_records, seed, account)
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
    return OwnRows(rows, raw.findings + examples.notes.findings(), rejects, raw.n_records, seed, account)


def problems_of(task: str, rows: list[dict]) -> list[dict]:
    """Benchmark rows of canonical `rows` in the form in which `load_study_data` makes them: by the shipped `task`, or
    of the user's own rows (""). InputProblem for a task without tests.
    """
    from tunebook import tasks

    if task:
        return tasks.load(task).make_problems(rows)
    known = demonstrations(rows)
    mark = mark_of(known)
    return make_own_problems(marked_rows(known, mark), mark)


def _boxed(task_id: str, prompt: str, answer: str) -> dict:
    return {"task_id": task_id, **math_answers.problem_of(prompt, answer)}


def _numbered(task_id: str, prompt: str, answer: str) -> dict:
    return {"task_id": task_id, **number_problem(prompt, answer)}


# how answers mark their result, as MATH and GSM8K do: a pattern, and what makes a problem that compares its value
MARKS = {
    "\\boxed{}": (re.compile(r"\\boxed\{"), _boxed),
    "####": (re.compile(r"####\s*-?\$?\d[\d,]*(\.\d+)?%?\s*\Z"), _numbered),
}
MARKED = 0.9  # share of the answers from which the mark is how the rows answer, and one without it an odd one


def mark_of(rows: list[dict]) -> str:
    """How the answers of canonical `rows` mark their result (a key of MARKS), "" where they do not."""
    answers = [answer_text(row) for row in rows if row.get("completion")]
    shares = {mark: sum(bool(found.search(text)) for text in answers) for mark, (found, _) in MARKS.items()}
    return next((mark for mark, n in shares.items() if answers and n >= MARKED * len(answers)), "")


def marked_rows(rows: list[dict], mark: str) -> list[dict]:
    """The rows whose answer has the `mark`; all for ""."""
    return [row for row in rows if MARKS[mark][0].search(answer_text(row))] if mark else rows


def make_own_problems(rows: list[dict], mark: str = "") -> list[dict]:
    """Benchmark rows of kind `answer` from canonical rows: right is only the row's own answer, white space apart, both
    as the extractor reads them; of answers with a `mark` (see MARKS) only what is marked counts, by its value.

    Good for labels, numbers and short texts; for free text it is far too strict, so give a benchmark file there.
    `messages` holds the whole prompt where it is more than one user turn.
    """
    problems, made = [], MARKS[mark][1] if mark else exact_problem
    for row in rows:
        problem = made(f"own/{row['record']}", prompt_text(row), answer_text(row))
        problem["slice"] = slice_of(row)
        if len(row["prompt"]) > 1:
            problem["messages"] = [
                {key: value for key, value in turn.items() if key != "weight"} for turn in row["prompt"]
            ]
        if row.get("tools"):
            problem["tools"] = row["tools"]
        problems.append(problem)
    return problems
