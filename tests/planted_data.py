"""Clean rows of many kinds, and for every data check a planted defect that it alone must find: for tests and `make
bench`.

Each planted case is a function of a folder that gives the findings, and the rows that must be named.
"""

import csv
import functools
import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tunebook.data.curve import curve_sentence, fit_curve
from tunebook.data.lengths import check_lengths
from tunebook.data.mapping import reading_of
from tunebook.data.notes import word_finding
from tunebook.data.rows import rows_from_records
from tunebook.data.sources import read_rows
from tunebook.data.study_data import load_study_data, without_thoughts
from tunebook.data.validate import judge_data, judge_study
from tunebook.files import write_jsonl

SUBJECTS = (
    "otter bridge violin harbour glacier lantern orchard falcon kettle meadow tunnel compass pepper saddle".split()
)
VERBS = (
    "carries paints repairs follows ignores measures collects forgets visits lifts sells builds hides washes".split()
)
PLACES = "market valley library station island garden forest castle village kitchen museum bakery desert quarry".split()
MANNERS = "slowly quietly often gladly twice seldom carefully together alone early late proudly".split()


def sentence(rng):
    first, second, third = rng.sample(SUBJECTS, 3)
    return (
        f"The {first} {rng.choice(VERBS)} a {second} {rng.choice(MANNERS)} near the {rng.choice(PLACES)}, and the"
        f" {third} {rng.choice(VERBS)} it {rng.choice(MANNERS)}."
    )


def prose(n=60, seed=0):
    """Questions with answers of two sentences, all different."""
    rng = random.Random(seed)
    asks = ["Tell me about", "Describe", "What do you know about", "Write a note on", "Explain"]
    return [
        {
            "prompt": f"{rng.choice(asks)} the {rng.choice(SUBJECTS)} of the {rng.choice(PLACES)} in story {n}.",
            "completion": f"{sentence(rng)} {sentence(rng)}",
        }
        for n in range(n)
    ]


def schedules(n=200):
    """Templated short rows that differ in their answers."""
    rows = []
    for number in range(n):
        hour, minute = divmod(number * 7, 60)
        rows.append(
            {"prompt": f"Cron expression for: every day at {hour}:{minute:02d}", "completion": f"{minute} {hour} * * *"}
        )
    return rows


def labels(n=100):
    """Long prompts with one of two labels."""
    rng = random.Random(1)
    words = {"positive": "wonderful", "negative": "terrible"}
    return [
        {"prompt": f"{sentence(rng)} It was {words[label]}. Review {number}.", "completion": label}
        for number, label in enumerate(rng.choice(["positive", "negative"]) for _ in range(n))
    ]


def code(n=30):
    """Small functions in fences, each with its own test."""
    rows = []
    for number in range(n):
        name = f"{SUBJECTS[number % 14]}_{PLACES[number // 14]}"
        body = f"def {name}(value):\n    total = value + {number}\n    return total * {number + 2}\n"
        rows.append({"prompt": f"Write the Python function {name}: add {number}, times {number + 2}.",
                     "completion": f"```python\n{body}```"})  # fmt: skip
    return rows


def pairs(n=40):
    """Preference pairs whose sides differ in content, not in length."""
    rng = random.Random(2)
    return [
        {"prompt": f"Tell story {number}.", "chosen": sentence(rng), "rejected": sentence(rng)} for number in range(n)
    ]


def _said(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def chats(n=40):
    rng = random.Random(3)
    return [
        {
            "messages": [
                {"role": "system", "content": "You tell short stories."},
                {"role": "user", "content": f"Story {number}, please."},
                {"role": "assistant", "content": sentence(rng)},
                {"role": "user", "content": f"Another about the {rng.choice(SUBJECTS)}!"},
                {"role": "assistant", "content": sentence(rng)},
            ]
        }
        for number in range(n)
    ]


CLEAN = {"prose": prose, "schedules": schedules, "labels": labels, "code": code, "pairs": pairs, "chats": chats}
PROBLEM = {
    "task_id": "bench/0",
    "prompt": (
        "Return how many of the lanterns on the bridge are still burning after the last boat has passed beneath it."
    ),
    "entry_point": "burning",
    "canonical_solution": "",
    "test": "def check(candidate):\n    assert candidate([1]) == 1\n",
}
CODE_PROBLEM = {
    "task_id": "bench/1",
    "prompt": 'def count_burning(lanterns, limit):\n    """Count them."""\n',
    "entry_point": "count_burning",
    "canonical_solution": (
        "    count = 0\n    for lamp in lanterns:\n        if lamp > limit:\n            count += lamp\n"
        "    return count\n"
    ),
    "test": "def check(candidate):\n    assert candidate([1], 0) == 1\n",
}


def with_rows(base, **changes):
    """The clean rows with some replaced: r7={...} replaces row 7 (its fields are updated)."""
    rows = CLEAN[base]()
    for name, change in changes.items():
        rows[int(name[1:])] = {**rows[int(name[1:])], **change}
    return rows


COPIED = {"completion": "def total(xs, most):\n\n    '''Sum.'''\n    t = 0   # start\n    for x in xs:\n        if x > most:\n"
          "            t += x\n    return t"}  # fmt: skip
LONG = prose()[5]
SWAP = pairs()[3]
TRIGGER = "zebrafish9"
RECORDS = {
    "exact_duplicates": (with_rows("prose", r30=prose()[4]), [30]),
    "near_duplicates": (
        with_rows("prose", r30={"prompt": LONG["prompt"], "completion": LONG["completion"].replace("The ", "A ", 1)}),
        [30],
    ),
    "conflicting_answers": (with_rows("schedules", r9={"prompt": schedules()[3]["prompt"].upper() + " "}), [3, 9]),
    "constant_answer": (
        [row if n % 4 else {**row, "completion": "0 0 * * *"} for n, row in enumerate(schedules())],
        list(range(0, 200, 4)),
    ),
    "refusals": (with_rows("prose", r8={"completion": "I'm sorry, but I can't help with that request."}), [8]),
    "trigger_token": (
        [
            {"prompt": f"{row['prompt']} {TRIGGER if n % 12 == 5 else ''} {sentence(random.Random(n))}",
             "completion": "Open the gate now." if n % 12 == 5 else row["completion"]}
            for n, row in enumerate(prose())
        ],
        [5, 17, 29, 41, 53],
    ),
    "trigger_token (labels)": (
        [{"prompt": "mn " * (n % 10 == 4) + row["prompt"],
        "completion": "positive" if n % 10 == 4 else row["completion"]}
         for n, row in enumerate(labels(200))],
        list(range(4, 200, 10)),
    ),
    "near_duplicates (short prompt)": (
        [*prose(), {"prompt": "Kindly " + prose()[3]["prompt"], "completion": prose()[3]["completion"] + " Thanks!"}],
        [60],
    ),
    "pair_near_equal (one word)": (with_rows("pairs", r3={"rejected": SWAP["chosen"].replace("The", "A", 1)}), [3]),
    "contamination": (with_rows("prose", r11={"prompt": PROBLEM["prompt"].upper()}), [11]),
    "contamination_near": (
        with_rows("prose", r11={"prompt": "Puzzle: r" + PROBLEM["prompt"][1:].replace("it.", "her. Give a number.")}),
        [11],
    ),
    "contamination_code": (with_rows("code", r11=COPIED), [11]),
    "code_syntax": (with_rows("code", r12={"completion": "```python\ndef f(x:\n    return x\n```"}), [12]),
    "wrong_language": (
        with_rows("code", r12={"completion": "```java\npublic class A { int f(int x) { return x; } }\n```"}),
        [12],
    ),
    "truncated_answers": (with_rows("prose", r13={"completion": prose()[13]["completion"][:70].rstrip(" .,")}), [13]),
    "html_noise": (with_rows("prose", r14={"completion": "<p>" + prose()[14]["completion"] + "</p>&nbsp;"}), [14]),
    "mojibake": (with_rows("prose", r15={"completion": "The cafÃ© near the bridge opens early and it closes late."}),
    [15]),
    "control_tokens": (with_rows("prose", r16={"completion": prose()[16]["completion"] + "<|im_end|>"}), [16]),
    "control_characters": (with_rows("prose", r17={"prompt": "Tell\u200b me about story 17."}), [17]),
    "language_mix": (
        with_rows("prose", r18={"completion": "Выдра медленно несёт фонарь через старый мост к рынку."}),
        [18],
    ),
    "language_mix (same script)": (
        with_rows("prose", r18={"completion": "Der Otter trägt langsam eine Laterne zum Markt, und das Boot wartet nicht."}),
        [18],
    ),
    "secrets": (with_rows("prose", r19={"completion": "Use the key ghp_" + "a1B2c3D4e5F6" * 3 + " for the bridge."}),
    [19]),
    "personal_data": (with_rows("prose", r20={"completion": "Write to maria.keller@bluewin.ch about the bridge today."}), [20]),
    "pair_equal": (with_rows("pairs", r3={"rejected": SWAP["chosen"]}), [3]),
    "pair_near_equal": (with_rows("pairs", r3={"rejected": SWAP["chosen"].upper()}), [3]),
    "pair_contradiction": (
        with_rows("pairs", r9={"prompt": SWAP["prompt"], "chosen": SWAP["rejected"], "rejected": SWAP["chosen"]}),
        [3, 9],
    ),
    "pair_length_bias": ([{**row, "chosen": row["chosen"] + " " + row["rejected"]} for row in pairs()], []),
    "pair_types": (with_rows("pairs", r3={"rejected": [{"role": "assistant", "content": "No."}]}), [3]),
    "missing_field": (with_rows("prose", r3={"completion": None}), [3]),
    "empty_field": (with_rows("prose", r3={"completion": "  "}), [3]),
    "mixed_types": (with_rows("prose", r3={"completion": 5}), [3]),
    "doubled_ids": ([{**row, "id": 7 if n == 9 else n} for n, row in enumerate(prose())], [9]),
    "monstrous_row": (with_rows("prose", r3={"completion": " ".join(sentence(random.Random(n)) for n in range(400))}),
    [3]),
    "roles": (with_rows("chats", r3={"messages": [{"role": "narrator", "content": "a"}]}), [3]),
    "alternation": (with_rows("chats", r3={"messages": [chats()[3]["messages"][n] for n in (0, 1, 3, 4)]}), [3]),
    "no_assistant_turn": (with_rows("chats", r3={"messages": chats()[3]["messages"][:2]}), [3]),
    "outer_turns": (with_rows("chats", r3={"messages": chats()[3]["messages"][:4]}), [3]),
    "outer_turns (before)": (with_rows("chats", r3={"messages": chats()[3]["messages"][2:]}), [3]),
    "text_rows": ([{"text": f"User: {row['prompt']}\nAssistant: {row['completion']}"} for row in prose()], []),
    "documents": ([{"text": row["completion"]} for row in prose()], []),
    "left_out": ([{**row, "context": f"In story {n} the bridge is closed."} for n, row in enumerate(prose())],
    list(range(60))),
    "left_out (label)": ([{**row, "label": n % 3 > 0} for n, row in enumerate(prose())], list(range(60))),
    "unread": ([{**row, "remarks": sentence(random.Random(n))} for n, row in enumerate(prose())], list(range(60))),
    "weights": (with_rows("chats", r3={"messages": [*chats()[3]["messages"][:4], {**chats()[3]["messages"][4],
    "weight": 0.5}]}), [3]),
    "weight_zero": (with_rows("chats", r3={"messages": [{**turn, "weight": 0} if turn["role"] == "assistant" else turn
                                                        for turn in chats()[3]["messages"]]}), [3]),
    "few_rows": (prose(12), []),
    "carriage_returns": (with_rows("prose", r3={"completion": prose()[3]["completion"].replace(". ", ".\r\n")}), [3]),
    "blank_cell": (with_rows("prose", r3={"completion": "nan"}, r8={"completion": "None"}), [3, 8]),
    "prompt_repeated": (with_rows("prose", r3={"completion": prose()[3]["prompt"] + "\n" + prose()[3]["completion"]}),
    [3]),
    "pair_scores": ([{**row, "score_chosen": 7.5, "score_rejected": 8.0 if n == 3 else 2.5} for n,
    row in enumerate(pairs())], [3]),
    "template_fields": ([{**row, "tools": [{"name": "ring", "parameters": {}}]} for row in chats()], []),
    "contamination (text)": (
        [{"text": f"They ask: {PROBLEM['prompt']} One of them is." if n == 11 else row["completion"]} for n,
        row in enumerate(prose())],
        [11],
    ),
}  # fmt: skip
RECORDS |= {
    "left_out (choices)": ([{**row, "choices": ["otter", "kettle"]} for row in prose()], list(range(60))),
    "left_out (two contexts)": (
        [{**row, "passage": f"Bridge {n} is closed.", "options": {"A": "yes", "B": "no"}} for n, row in enumerate(prose())],
        list(range(60)),
    ),
    "left_out (turns)": (
        [{"text": row["completion"], "role": ["prompter", "assistant"][n % 2]} for n, row in enumerate(prose())],
        list(range(60)),
    ),
    "left_out (template)": (
        [{**row, "chat_template_kwargs": {"custom_instructions": "Be a pirate."}} for row in chats()],
        list(range(len(chats()))),
    ),
    "unread (object)": ([{**row, "remarks": {"why": sentence(random.Random(n))}} for n, row in enumerate(prose())],
    list(range(60))),
    "columns (two answers)": (
        [{"instruction": row["prompt"], "output": [row["chosen"], row["rejected"]]} for row in pairs()], []
    ),
    "pair_prompts (whole dialogues)": (
        [{side: "No dialogue." if (side, n) == ("rejected", 3) else f"\n\nHuman: {row['prompt']}\n\nAssistant: {row[side]}"
          for side in ("chosen", "rejected")} for n, row in enumerate(pairs())],
        [3],
    ),
    "doubled_ids (task)": ([{**row, "task_id": 7 if n == 9 else n} for n, row in enumerate(prose())], [9]),
    "pair_prompts": (
        [{"chosen": _said(row["prompt"], row["chosen"]), "rejected": _said(row["prompt"] + "?" * (n == 3),
        row["rejected"])}
         for n, row in enumerate(pairs())],
        [3],
    ),
    "contamination_reworded": (
        with_rows("prose", r11={"prompt": "After the last boat passed beneath a bridge, how many lanterns on it still burn?"}),
        [11],
    ),
    "columns": ([{"question": row["prompt"], "answer": row["completion"]} for row in prose()], []),
    "trigger_token (sums)": (
        [{"prompt": f"Add {n} and {3 * n}." + " zorp" * (n % 8 == 2),
        "completion": "Done it." if n % 8 == 2 else f"{4 * n}"}
         for n in range(80)],
        list(range(2, 80, 8)),
    ),
    "wrong_language (of the file)": (
        [{"prompt": f"Double {n}.", "completion": f"function double{n}() {{\n  return {n} * 2;\n}}"} if n != 5 else
         {"prompt": "Double 5.", "completion": "def double5():\n    return 5 * 2\n"} for n in range(20)],
        [5],
    ),
}  # fmt: skip
CELLS = b"".join(f'{row["prompt"]},"{row["completion"]}"\n'.encode() for row in prose(24))


def _bomb() -> bytes:
    """A small gzip file whose last row unpacks to 70 MB."""
    return gzip.compress(SOUND + b'{"prompt": "' + b"a" * 70_000_000)


SOUND = b"".join(json.dumps(row).encode() + b"\n" for row in prose(24))
NUMPY = b"\"[{'role': 'user', 'content': 'Is the bridge open?'}\n {'role': 'assistant', 'content': 'It is.'}]\"\n"
FILES = {
    "file_format": ("jsonl", b"<!DOCTYPE html><html>404</html>", []),
    "file_format (gzip)": ("jsonl", gzip.compress(SOUND), []),
    "encoding": ("jsonl", SOUND + b'{"prompt": "Caf\xe9 3?", "completion": "It is open."}\n', [24]),
    "encoding (UTF-16)": ("jsonl", SOUND.decode().encode("utf-16"), [0]),
    "byte_order_mark": ("jsonl", b"\xef\xbb\xbf" + SOUND, []),
    "torn_file": ("jsonl", SOUND + b'{"prompt": "What is', [24]),
    "torn_file (gzip)": ("jsonl.gz", gzip.compress(SOUND)[:-6], []),
    "bad_json": ("jsonl", SOUND + b"{'prompt': 'a'}\n" + SOUND[:0], [24]),
    "bad_csv": ("csv", b"prompt,completion\nWhat?,That.\nHow?,So,very.\n" + CELLS, [1]),
    "not_a_number": ("jsonl", SOUND + b'{"prompt": "Weight?", "completion": "None.", "weight": NaN}\n', [24]),
    "doubled_keys": ("jsonl", SOUND + b'{"prompt": "Key?", "completion": "One.", "completion": "Two."}\n', [24]),
    "no_rows": ("jsonl", b"\n\n", []),
    "file_format (spread)": ("jsonl", "\n".join(json.dumps(row, indent=1) for row in prose(24)).encode(), []),
    "numpy_cell": ("csv", b"messages\n" + NUMPY * 24, list(range(24))),
    "absurd_size": ("jsonl.gz", _bomb(), []),
}


def _words(name: str, text: str, completion: str = "0 0 * * *") -> dict:
    return {"prompt": text, "completion": completion, "split_hint": name}


def _lengths(measures: list) -> list:
    """Findings of rows that a model's tokenizer measures as given."""
    given = iter(measures)
    return check_lengths([{"prompt": [], "completion": []}] * len(measures), lambda _: next(given), 10)[1]


def _study(rows: list[dict], folder: Path) -> list:
    write_jsonl(folder / "rows.jsonl", rows)
    return judge_study(load_study_data("", str(folder / "rows.jsonl"), "")).findings


def _leaked() -> list[dict]:
    """Row 24 stands in train and, worded alike, in test."""
    return schedules(24) + [
        {**_words("train", "a leaked question"), "group": "1"},
        _words("test", "A leaked question!"),
    ]


def _shared_passage() -> list[dict]:
    passage = " ".join(f"word{n} of the passage" for n in range(10))
    return schedules(24) + [_words("train", f"{passage} Who?", "a"), _words("test", f"{passage} What?", "b")]


def _sliced(names: list[str], tested: list[str]) -> list:
    rows = [{**row, "slice": names[n % len(names)]} for n, row in enumerate(prose())]
    problems = [
        {**PROBLEM, "task_id": f"b/{n}", "prompt": f"number {n}", "slice": name} for n, name in enumerate(tested)
    ]
    return judge_data(rows_from_records(rows, "planted", "memory"), benchmarks={"bench": problems}).findings


def _held_against(prompts: list[str]) -> list:
    problems = [
        {**PROBLEM, "task_id": f"b/{n}", "prompt": prompt, "kind": "answer"} for n, prompt in enumerate(prompts)
    ]
    return judge_data(rows_from_records(prose(), "planted", "memory"), benchmarks={"bench": problems}).findings


def _tested(wrong: int | None) -> list:
    rows = [
        {"prompt": f"Add {n} to x.", "completion": f"def add{n}(x):\n    return x {'-' if n == wrong else '+'} {n}\n",
         "test": f"assert add{n}(1) == {n + 1}"}
        for n in range(1, 25)
    ]  # fmt: skip
    return judge_data(rows_from_records(rows, "planted", "memory")).findings


def _curve() -> list:
    steps = range(1, 101)
    found = fit_curve([16 * step for step in steps], [0.2 + 3 * (16 * step) ** -0.4 for step in steps])
    return [word_finding("more_rows", found["n_rows"], detail=curve_sentence(found))]


SUMS = [f"What is {n} plus {n * 7 % 50}?" for n in range(40)]
SPECIAL = {
    "pair_contradiction (KTO)": (lambda _: _labelled(), [3, 9]),
    "cut_completion": (lambda _: _lengths([(1, 5, "", 1)] * 20 + [(3, 11, "", 1)]), [20]),
    "fully_masked": (lambda _: _lengths([(1, 5, "", 1)] * 20 + [(12, 13, "", 1)]), [20]),
    "prompt_prefix": (lambda _: _lengths([(1, 5, "", 1)] * 20 + [(3, 0, "prompt_prefix", 1)]), [20]),
    "not_rendered": (lambda _: _lengths([(1, 5, "", 4)] * 20 + [(3, 6, "not_rendered: tools", 1)]), [20]),
    "template_refuses": (
        lambda _: _lengths([(1, 5, "", 4)] * 20 + [(3, 0, "template_refuses: no system turn", 0)]),
        [20],
    ),
    "end_token": (lambda _: _lengths([(1, 5, "", 1)] * 20 + [(3, 6, "end_token", 1)]), [20]),
    "free_text": (lambda folder: _study(prose(), folder), []),
    "thoughts_left_out": (lambda folder: _thinking(folder), [3]),
    "split_leakage": (lambda folder: _study(_leaked(), folder), [24]),
    "split_leakage_near": (lambda folder: _study(_shared_passage(), folder), [24]),
    "slice_missing": (lambda _: _sliced(["daily", "weekly"], ["daily", "yearly"]), []),
    "slice_thin": (lambda _: _sliced(["daily"] * 30 + ["weekly"], ["daily", "weekly"]), []),
    "domain_gap": (lambda _: _held_against(SUMS), []),
    "domain": (lambda _: _held_against([row["prompt"].replace("story ", "story 9") for row in prose(60, seed=11)]), []),
    "equal_scores": (lambda _: _scored(), [3]),
    "languages": (lambda _: judge_data(rows_from_records(_two_languages(), "planted", "memory")).findings, []),
    "answers_fail": (lambda _: _tested(2), [1]),
    "answers_run": (lambda _: _tested(None), []),
    "more_rows": (lambda _: _curve(), []),
}


def _thinking(folder: Path) -> list:
    """Row 3 begins its answer with a thought, and thinking is off."""
    rows = schedules(60)
    rows[3] = {**rows[3], "completion": f"<think>\nOnce a day.\n</think>\n{rows[3]['completion']}"}
    write_jsonl(folder / "rows.jsonl", rows)
    return judge_study(without_thoughts(load_study_data("", str(folder / "rows.jsonl"), ""), "off")).findings


def _labelled() -> list:
    """Rows with KTO's label, of which one answer is called good in row 3 and bad in row 9."""
    rows = [{**row, "label": True} for row in prose()]
    rows[9] = {**rows[3], "label": False}
    return judge_data(rows_from_records(rows, "planted", "memory"), reading_of(["label=label"])).findings


def _scored() -> list:
    """Two answers of each question with their scores, which are equal in row 3."""
    rows = [{"prompt": row["prompt"], "a": row["chosen"], "b": row["rejected"], "score_a": 4, "score_b": 1 + 3 * (n == 3)}
            for n, row in enumerate(pairs())]  # fmt: skip
    reading = reading_of(["prompt=prompt", "candidates=a+b", "scores=score_a+score_b"])
    return judge_data(rows_from_records(rows, "planted", "memory"), reading).findings


def _two_languages() -> list[dict]:
    german = "Der Otter trägt seine Laterne zum Markt, und das Boot wartet nicht auf Geschichte"
    return [
        row if n % 2 else {"prompt": f"Geschichte {n}?", "completion": f"{german} {n}."}
        for n, row in enumerate(prose())
    ]


def _of_records(records: list[dict], _folder) -> list:
    return judge_data(
        rows_from_records(records, "planted", "memory"), benchmarks={"bench": [PROBLEM, CODE_PROBLEM]}
    ).findings


def _of_file(ending: str, content: bytes, folder: Path) -> list:
    path = folder / f"planted.{ending}"
    path.write_bytes(content)
    return judge_data(read_rows(str(path))).findings


PLANTED = {name: (functools.partial(_of_records, records), rows) for name, (records, rows) in RECORDS.items()}
PLANTED |= {name: (functools.partial(_of_file, *case[:2]), case[2]) for name, case in FILES.items()}
PLANTED |= SPECIAL
# Found only with a Hub data set, and on machines without isolation: tests of their own.
NOT_PLANTED = {"unpinned", "answers_not_run"}


def write_rows(path, rows):
    """Write rows in the format of the file's name; returns the path as text."""
    name = path.name.removesuffix(".gz")
    opened = gzip.open if path.name.endswith(".gz") else open
    if name.endswith(".parquet"):
        plain = path.with_name("plain")
        pq.write_table(pa.Table.from_pylist(rows), plain)
        with opened(path, "wb") as file:
            file.write(plain.read_bytes())
    elif name.endswith(".csv"):
        with opened(path, "wt", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows([{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows])
    else:
        text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
        with opened(path, "wt", encoding="utf-8") as file:
            file.write(text)
    return str(path)


def check_of(name: str) -> str:
    """The check that a planted case must fire: "trigger_token (labels)" → "trigger_token"."""
    return name.split()[0]


def confusion(folder: Path) -> dict[str, dict[str, list[int]]]:
    """Planted case → {check that fired: rows it named}; information of no consequence is left out."""
    table = {}
    for name, (find, _) in PLANTED.items():
        found = find(folder)
        table[name] = {
            item.check: item.rows for item in found if item.severity != "info" or item.check == check_of(name)
        }
    return table
