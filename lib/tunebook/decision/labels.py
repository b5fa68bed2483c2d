"""Free text judged with few labels: the answers of a run's models, a judge's word on each, the sheet that a person
fills in, and what both say together.

The labels that count are those of a random sample of the problems; the problems that the judge doubts are labelled
beside them to show its mistakes, and are kept out of every estimate (`bench_labels` shows what counting them does).
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tunebook.decision import gather as rooms
from tunebook.errors import InputProblem, did_you_mean
from tunebook.evaluation.benchmark import Benchmark, from_problems
from tunebook.evaluation.completions import read_completions
from tunebook.evaluation.likelihood import JUDGED, QUESTIONS, judge_answers
from tunebook.evaluation.reply import extract_answer
from tunebook.files import hash_json, numbered_rows, read_json, read_text, sha256_file, write_json, write_text
from tunebook.statistics.intervals import wilson
from tunebook.statistics.paired import paired_interval
from tunebook.statistics.predicted import DIFFERENCE, FEWEST, agreement, labels_needed, predicted_mean

COLUMNS = ("place", "id", "prompt", "reference", "answer", "label")
WORDS = {"right": True, "yes": True, "true": True, "1": True, "wrong": False, "no": False, "false": False, "0": False}
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # how a text begins that a spreadsheet would compute


@dataclass(frozen=True)
class Answers:
    """What `models` answered: `rows` have `task_id, prompt, reference, texts` (by model) and `ids` (of each text with
    its request and the criterion), and `says` (by model, see `judge_answers`) once a judge was asked.
    """

    models: tuple[str, ...]
    criterion: str
    rows: list[dict]


def answers_to_judge(context, judged: list[str], criterion: str) -> Answers:
    """The first answer of each model to each test problem: targets of 04, or files of completions; [] takes base and
    the last one that was trained. InputProblem where a model gave none, or nobody said what is right.
    """
    if not criterion.strip():
        raise InputProblem("criterion is empty: say in a sentence what an answer must do to be right")
    found = context.needs()
    stages, problems = rooms.scored(found), from_problems(rooms.TASK, rooms.test_problems(found), "01_validate_data")
    trained = [name for name in rooms.ORDER if name in stages and name != "gguf"]
    names = judged or list(dict.fromkeys([*trained[:1], *trained[-1:]]))
    if not names:
        raise InputProblem("no model was scored before 11: run 04, or name files of completions in `judged`")
    said = {_model_of(name): name for name in names}
    if len(said) < len(names):
        raise InputProblem(f"judged: {', '.join(names)}: two of them are called alike: rename the files")
    texts = {model: _texts(found, stages, problems, name, context) for model, name in said.items()}
    rows = []
    for problem in problems.problems:
        prompt, reference = _request(problem), problem.get("canonical_solution", "")
        told = {model: texts[model][problem["task_id"]] for model in said}
        ids = {model: hash_json([prompt, reference, criterion, text])[:16] for model, text in told.items()}
        rows.append(
            {"task_id": problem["task_id"], "prompt": prompt, "reference": reference, "texts": told, "ids": ids}
        )
    return Answers(tuple(said), criterion, rows)


def _request(problem: dict) -> str:
    """What was asked, the turns before it included."""
    turns = problem.get("messages") or []
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns) if turns[1:] else problem["prompt"]


def _model_of(name: str) -> str:
    """A target as it is; for completions that 04 left elsewhere their target, for another file its name."""
    stage = next((part for part in Path(name).parts if part.startswith(f"{rooms.SCORE_STAGE}@")), "")
    return stage.partition("@")[2] or Path(name).name.partition(".")[0]


def _texts(found: dict, stages: dict, problems: Benchmark, name: str, context) -> dict[str, str]:
    if name in stages:
        if stages[name].manifest["params"].get("split") == "dev":
            raise InputProblem(f"{stages[name].name} answered dev problems, on which choices are made: set split: test")
        rows = rooms.completions(found, name)
    elif Path(name).is_file():
        context.external_file("answers to judge", name)
        rows = read_completions(name, problems)
    else:
        raise InputProblem(f"judged: {did_you_mean(name, stages, f'no 04@{name} before 11 and no such file: {name}')}")
    first = {}
    for row in rows:
        first.setdefault(row["task_id"], extract_answer(row["completion"], "whole").strip())
    if missing := [task for task in problems.task_ids() if task not in first]:
        raise InputProblem(f"judged: {name} has no answer to {missing[0]!r}: ask it the test problems of this run")
    return first


def ask_judge(engine, answers: Answers, context, thinking: str = "none") -> Answers:
    """The answers with what the judge says of each; equal answers to one request are judged once, and those that it
    judged in an earlier try of this run are not asked again.
    """
    asked = {
        row["ids"][model]: {"prompt": row["prompt"], "reference": row["reference"], "answer": text}
        for row in answers.rows
        for model, text in row["texts"].items()
    }
    key = hash_json([engine.identity(), engine.chat_template, thinking, JUDGED, *QUESTIONS, *asked])
    kept = context.answers_folder / f"judge-{key[:32]}.json"
    if not kept.is_file():
        words = judge_answers(engine, list(asked.values()), answers.criterion, thinking, context.progress)
        write_json(kept, {"words": words})
    said = dict(zip(asked, read_json(kept)["words"], strict=True))
    rows = [row | {"says": {model: said[name] for model, name in row["ids"].items()}} for row in answers.rows]
    return Answers(answers.models, answers.criterion, rows)


def label_queue(answers: Answers, n_random: int, n_doubtful: int, seed: int) -> list[dict]:
    """The problems to label, in order: `task_id`, `kind` and the `ids` to label, in an order that hides the models.

    The random ones are the first of an order by hash, so that any first part of them is a simple random sample. Among
    them, evenly, stand the doubtful ones: of the rest those with the highest rank by `doubt` (the judge is near one
    half, or contradicts itself) and `novelty` (how far the nearest other problem with its answers is) together.
    """
    import numpy
    from scipy.stats import rankdata

    def by_hash(*key) -> bytes:
        return hashlib.sha256("\n".join(map(str, (seed, *key))).encode()).digest()

    order = sorted(answers.rows, key=lambda row: by_hash(row["task_id"]))
    n_random = min(n_random or len(order), len(order))
    chosen, rest = order[:n_random], order[n_random:]
    said = [row["says"].values() for row in rest]
    doubt = [max(1 - abs(2 * word["right"] - 1) + word["apart"] for word in words) for words in said]
    ranks = sum(rankdata(values) for values in (doubt, _novelty(answers.rows, rest)))
    doubtful = [rest[at] for at in numpy.argsort(-ranks, kind="stable")[:n_doubtful]] if rest else []
    every = max(1, n_random // (len(doubtful) + 1))
    queue = []
    for at, row in enumerate(chosen, start=1):
        queue.append((row, "random"))
        if at % every == 0 and doubtful:
            queue.append((doubtful.pop(0), "doubtful"))
    queue += [(row, "doubtful") for row in doubtful]
    mixed = [sorted(set(row["ids"].values()), key=lambda name: by_hash("order", name)) for row, _ in queue]
    return [{"task_id": row["task_id"], "kind": kind, "ids": ids} for (row, kind), ids in zip(queue, mixed)]


def _novelty(rows: list[dict], wanted: list[dict]):
    """Cosine distance of each of `wanted` from the nearest other one of `rows`, over tf-idf of letters."""
    import numpy

    if len(rows) < 2 or not wanted:
        return numpy.zeros(len(wanted))
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    texts = ["\n".join([row["prompt"], *row["texts"].values()]) for row in rows]
    known = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit_transform(texts)
    distance = NearestNeighbors(n_neighbors=2, metric="cosine").fit(known).kneighbors(known)[0][:, 1]
    place = {row["task_id"]: at for at, row in enumerate(rows)}
    return distance[[place[row["task_id"]] for row in wanted]]


def sheet_rows(answers: Answers, queue: list[dict]) -> list[dict]:
    """The sheet's rows, one for each different answer; no model and no judgement can be seen in it."""
    by_task = {row["task_id"]: row for row in answers.rows}
    rows = {}
    for entry in queue:
        row = by_task[entry["task_id"]]
        texts = {row["ids"][model]: text for model, text in row["texts"].items()}
        for name in entry["ids"]:
            shown = {"prompt": row["prompt"], "reference": row["reference"], "answer": texts[name]}
            plain = {key: f"'{text}" if text.startswith(FORMULAS) else text for key, text in shown.items()}
            rows.setdefault(name, {"id": name, **plain, "label": ""})
    return [{"place": at, **row} for at, row in enumerate(rows.values(), start=1)]


def write_sheet(context, rows: list[dict]) -> Path:
    """The sheet in the run's folder `labels/`, which no stage empties; one that is there is left as it is."""
    path = context.run_folder / "labels" / f"{hash_json([row['id'] for row in rows])[:8]}.csv"
    if not path.is_file():
        _save_sheet(path, rows)
    return path


def _save_sheet(path: Path, rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, "\ufeff" + text.getvalue())  # so that a spreadsheet reads it as UTF-8


def label_here(sheet: Path, rows: list[dict], ask=input) -> None:
    """Ask at the keyboard for each label that the sheet lacks, and write it at once; an empty answer stops.
    InputProblem where nobody can answer, as in a batch run.
    """
    labels = read_labels(sheet, {row["id"] for row in rows})
    for row in rows:
        if row["id"] in labels:
            continue
        known = f"right, for comparison: {row['reference']}\n\n" if row["reference"] else ""
        try:
            word = ask(f"{row['prompt']}\n\n{known}answer: {row['answer']}\n\nright or wrong (empty: stop)? ").strip()
        except (EOFError, NotImplementedError):
            raise InputProblem(f"label_here asks at the keyboard, and here is none: fill in {sheet}") from None
        if not word:
            return
        if word.lower() not in WORDS:
            raise InputProblem(f"label_here: {word!r} is no label: run the cell again and write right or wrong")
        labels[row["id"]] = WORDS[word.lower()]
        said = {name: "right" if label else "wrong" for name, label in labels.items()}
        _save_sheet(sheet, [one | {"label": said.get(one["id"], "")} for one in rows])


def read_labels(path: str | Path, known: set[str]) -> dict[str, bool]:
    """The labels of a filled sheet by `id`; csv, or JSON lines with `id` and `label`. Empty ones are passed over.

    InputProblem, with file and line, for a label of an answer that is none of `known`, for a word that is no label, and
    for two labels of one answer.
    """
    path, labels = Path(path), {}
    is_jsonl = path.name.endswith((".jsonl", ".jsonl.gz"))
    for number, row in numbered_rows(path) if is_jsonl else _csv_rows(path):
        name, word = str(row.get("id", "")).strip(), str(row.get("label") or "").strip().lower()
        word = str(row["label"]).lower() if row.get("label") in (False, 0) else word
        if not word:
            continue
        if word not in WORDS:
            raise InputProblem(f"{path}, line {number}: label is {word!r}: write right or wrong, or leave it empty")
        if name not in known:
            raise InputProblem(
                f"{path}, line {number}: the label is of another answer (this run has none with id {name!r}):"
                " answers or criterion have changed since, so label the new sheet"
            )
        if labels.setdefault(name, WORDS[word]) != WORDS[word]:
            raise InputProblem(f"{path}, line {number}: id {name} has both labels: keep one")
    return labels


def _csv_rows(path: Path):
    """(line, row) of a sheet; comma, semicolon or tab, as spreadsheets write it."""
    text, start = read_text(path), 1
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if missing := [name for name in ("id", "label") if name not in header]:
            raise InputProblem(f"{path}, line 1: no column {missing[0]}: fill in the sheet of 11")
        start = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(header):
                said = f"{len(fields)} fields, the header has {len(header)}"
                raise InputProblem(f"{path}, line {start}: {said}: mend the row")
            if fields:
                yield start, dict(zip(header, fields, strict=True))
            start = reader.line_num + 1
    except csv.Error as problem:
        raise InputProblem(f"{path}, line {start}: no csv ({problem}): mend the row") from None


def read_all_labels(context, files: list[str], answers: Answers) -> list[dict[str, bool]]:
    """The labels of each person's file, also of answers that this queue does not ask for, as after another judge; each
    file is recorded by its hash.
    """
    known = {name for row in answers.rows for name in row["ids"].values()}
    people = [read_labels(file, known) for file in files]
    if len({sha256_file(file) for file in files}) < len(files):
        raise InputProblem("labels: two files are the same: name one file for each person")
    for file in files:
        context.external_file("labels", file)
    return people


def counted(queue: list[dict], people: list[dict[str, bool]]) -> tuple[list[str], int]:
    """The random problems whose labels by the first of `people` count, and how many labelled ones stand behind the
    first gap: who leaves out what is hard to judge would choose the sample.
    """
    labels = people[0] if people else {}
    whole = [all(name in labels for name in entry["ids"]) for entry in queue if entry["kind"] == "random"]
    tasks = [entry["task_id"] for entry in queue if entry["kind"] == "random"]
    first = whole.index(False) if False in whole else len(whole)
    return tasks[:first], sum(whole[first:])


def label_estimates(answers: Answers, tasks: list[str], people: list[dict[str, bool]]) -> list[dict]:
    """A row a model, and one for the change from the first model to each other, as shares: `what`, the predicted
    `estimate` with its `interval` (see `predicted_mean`), what the labels alone say (`labels`, `labels_interval`), the
    `judge` alone, and its `bias` with interval: how much it overrates. By the first of `people`; [] for fewer than
    FEWEST of the problems `tasks`.
    """
    if len(tasks) < FEWEST:
        return []
    chosen = set(tasks)
    outcomes = {
        model: [float(people[0][row["ids"][model]]) if row["task_id"] in chosen else None for row in answers.rows]
        for model in answers.models
    }
    says = {model: [row["says"][model]["right"] for row in answers.rows] for model in answers.models}
    rows = [_estimate(model, outcomes[model], says[model]) for model in answers.models]
    first = answers.models[0]
    for model in answers.models[1:]:
        change = [None if a is None else b - a for a, b in zip(outcomes[first], outcomes[model], strict=True)]
        gap = [b - a for a, b in zip(says[first], says[model], strict=True)]
        rows.append(_estimate(f"{first} → {model}", change, gap, DIFFERENCE))
    return rows


def _estimate(what: str, outcomes: list, says: list[float], *ends) -> dict:
    row, told = predicted_mean(outcomes, says, *ends), [value for value in outcomes if value is not None]
    over = [None if value is None else word - value for value, word in zip(outcomes, says, strict=True)]
    bias = predicted_mean(over, [0.0] * len(over), tuple(2 * end for end in DIFFERENCE) if ends else DIFFERENCE)
    gained, lost = sum(value > 0 for value in told), sum(value < 0 for value in told)
    alone = paired_interval(gained, lost, len(told)) if ends else wilson(gained, len(told))
    row |= {"what": what, "labels": sum(told) / len(told), "labels_interval": list(alone)}
    return row | {"judge": sum(says) / len(says), "bias": bias["estimate"], "bias_interval": bias["interval"]}


def estimate_table(rows: list[dict]) -> list[dict]:
    """The estimates for a reader, in points."""
    return [
        {
            "what": row["what"],
            "right, judge and labels": _points(row["estimate"], row["interval"]),
            "labels alone": _points(row["labels"], row["labels_interval"]),
            "judge alone": f"{100 * row['judge']:.1f}",
            "the judge overrates by": _points(row["bias"], row["bias_interval"]),
            "labelled": f"{row['n']} of {row['n_all']}",
            "weight of the judge": round(row["weight"], 3),
        }
        for row in rows
    ]


def _points(value: float, interval: list[float]) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * part for part in (value, *interval)))


def doubtful_line(answers: Answers, queue: list[dict], people: list[dict[str, bool]]) -> str:
    """How often the judge is wrong (it says more than one half of what is wrong, or less of what is right) on random
    and on doubtful problems.
    """
    says = {row["ids"][model]: row["says"][model]["right"] for row in answers.rows for model in answers.models}
    parts = []
    for kind in ("random", "doubtful") if people else ():
        told = [name for entry in queue if entry["kind"] == kind for name in entry["ids"] if name in people[0]]
        wrong = sum((says[name] > 0.5) != people[0][name] for name in told)
        parts.append(f"{wrong} of {len(told)} {kind} answers")
    return f"The judge contradicts the person on {' and on '.join(parts)}." if parts else "Nobody labelled yet."


def label_result(estimates: list[dict], people: list[dict[str, bool]], smallest_gain: float, waiting: str) -> dict:
    """`gained`: whether the last model is shown to have gained more (True) or less (False) than `smallest_gain`
    points, None where that is open; `result` in words, with what would settle it; and how far people agree, as
    `agreement` in words and `people` (of `statistics.agreement`).

    `waiting` says what is to be labelled where, for the case that there are too few labels.
    """
    both = sorted(people[0].keys() & people[1].keys()) if len(people) > 1 else []
    found = agreement(*([person[name] for name in both] for person in people[:2])) if both else None
    told = "one person labelled, so how far people agree is not known"
    if found:
        told = f"two people agree on {_points(found['agree'], found['agree_interval'])}% of {found['n']} answers"
        if found["kappa"] is not None:
            told += ", kappa {kappa:.2f} [{0:.2f}, {1:.2f}]".format(*found["kappa_interval"], **found)
        told += ": on the others right is a matter of who labels"
    result = {"gained": None, "agreement": told if people else "nobody labelled", "people": found}
    if not estimates:
        return result | {"result": f"not labelled yet: {waiting}"}
    row = estimates[-1]
    text = f"{row['what']}: {_points(row['estimate'], row['interval'])} points"
    if "→" not in row["what"]:
        return result | {"result": f"{text} are right"}
    (low, high), margin = row["interval"], smallest_gain / 100
    if low > margin or high < min(margin, 0):
        return result | {"gained": low > margin, "result": f"{text}, by {row['n']} labelled problems and the judge"}
    needed = labels_needed(row, margin)
    more = f"about {needed or 0:,} labelled problems (now {row['n']:,}) would settle it in 8 of 10 repetitions"
    more = more if needed else f"labelling all {row['n_all']:,} would not settle it, more problems are needed"
    return result | {"result": f"{text}, not told apart from {smallest_gain:g}: {more}"}


def judge_mass(answers: Answers) -> float:
    """The median share of the judge's first token that was yes or no at all."""
    return median(word["mass"] for row in answers.rows for word in row["says"].values())
