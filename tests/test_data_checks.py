"""Each planted defect is found by its own check, at its own rows, and by nothing else; clean rows raise nothing."""

import json
import random

import pytest

from tunebook.data.judge import judge
from tunebook.data.rows import rows_from_records
from tunebook.data.secrets import redact, redact_record
from tunebook.data.wording import CHECKS

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
        f"The {first} {rng.choice(VERBS)} a {second} {rng.choice(MANNERS)} near the {rng.choice(PLACES)}, and the {third} "
        f"{rng.choice(VERBS)} it {rng.choice(MANNERS)}."
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
    "prompt": "Return how many of the lanterns on the bridge are still burning after the last boat has passed beneath it.",
    "entry_point": "burning",
    "canonical_solution": "",
    "test": "def check(candidate):\n    assert candidate([1]) == 1\n",
}
CODE_PROBLEM = {
    "task_id": "bench/1",
    "prompt": 'def count_burning(lanterns, limit):\n    """Count them."""\n',
    "entry_point": "count_burning",
    "canonical_solution": "    count = 0\n    for lamp in lanterns:\n        if lamp > limit:\n            count += lamp\n"
    "    return count\n",
    "test": "def check(candidate):\n    assert candidate([1], 0) == 1\n",
}


def run(records, **options):
    """{check: rows} of all errors and warnings."""
    judgement = judge(rows_from_records(records, "planted", "memory"), **options)
    return {item.check: item.rows for item in judgement.findings if item.severity != "info"}


def with_rows(base, **changes):
    """The clean rows with some replaced: r7={...} replaces row 7 (its fields are updated)."""
    rows = CLEAN[base]()
    for name, change in changes.items():
        rows[int(name[1:])] = {**rows[int(name[1:])], **change}
    return rows


@pytest.mark.parametrize("name", CLEAN)
def test_clean_rows_raise_nothing(name):
    assert run(CLEAN[name](), benchmarks={"bench": [PROBLEM, CODE_PROBLEM]}) == {}


COPIED = {"completion": "def total(xs, most):\n\n    '''Sum.'''\n    t = 0   # start\n    for x in xs:\n        if x > most:\n"
          "            t += x\n    return t"}  # fmt: skip
LONG = prose()[5]
SWAP = pairs()[3]
TRIGGER = "zebrafish9"
PLANTED = {
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
        [{"prompt": "mn " * (n % 10 == 4) + row["prompt"], "completion": "positive" if n % 10 == 4 else row["completion"]}
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
    "mojibake": (with_rows("prose", r15={"completion": "The cafÃ© near the bridge opens early and it closes late."}), [15]),
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
    "secrets": (with_rows("prose", r19={"completion": "Use the key ghp_" + "a1B2c3D4e5F6" * 3 + " for the bridge."}), [19]),
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
    "monstrous_row": (with_rows("prose", r3={"completion": " ".join(sentence(random.Random(n)) for n in range(400))}), [3]),
    "roles": (with_rows("chats", r3={"messages": [{"role": "human", "content": "a"}]}), [3]),
    "alternation": (with_rows("chats", r3={"messages": chats()[3]["messages"][2:]}), [3]),
    "no_assistant_turn": (with_rows("chats", r3={"messages": chats()[3]["messages"][:2]}), [3]),
    "trailing_turns": (with_rows("chats", r3={"messages": chats()[3]["messages"][:4]}), [3]),
    "text_rows": ([{"text": row["completion"]} for row in prose()], []),
}  # fmt: skip


@pytest.mark.parametrize("check", PLANTED)
def test_planted_defect_is_found_by_its_check_alone(check):
    records, rows = PLANTED[check]
    assert run(records, benchmarks={"bench": [PROBLEM, CODE_PROBLEM]}) == {check.split()[0]: rows}


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_says_what_to_do(check):
    severity, what, fix = CHECKS[check]
    assert severity in ("error", "warn", "info") and what and fix


def test_message_gives_place_and_reason():
    [finding] = judge(rows_from_records(PLANTED["empty_field"][0], "planted", "memory")).findings
    assert finding.message == "Rows that have an empty field: 1 of 60; first: row 3: completion is empty."


def test_failing_answers_are_found_by_running_the_rows_own_test():
    """Three forms of a row's test: check with an entry point, bare asserts, and check on the answer's text."""
    good = "def add(a, b):\n    return a + b\n"
    check = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
    records = [
        {"prompt": "Add two numbers.", "completion": good, "test": check, "entry_point": "add"},
        {
            "prompt": "Add two numbers, wrongly.",
            "completion": good.replace("+", "-"),
            "test": check,
            "entry_point": "add",
        },
        {"prompt": "Add these.", "completion": good, "test": "assert add(1, 2) == 3\nassert add(0, 0) == 0"},
        {"prompt": "Add those.", "completion": good.replace("+", "*"), "test": "assert add(1, 2) == 3"},
        {"prompt": "def add(a, b):\n", "completion": "    return b + a\n", "test": check, "entry_point": "add"},
        {"prompt": "A number?", "completion": "7", "test": "def check(answer):\n    assert answer == '7'\n"},
        {"prompt": "A larger number?", "completion": "8", "test": "def check(answer):\n    assert answer == '9'\n"},
    ]
    judgement = judge(rows_from_records(records, "planted", "memory"))
    found = {item.check: item for item in judgement.findings}
    if "answers_not_run" in found:
        pytest.skip(found["answers_not_run"].message)
    assert found["answers_fail"].rows == [1, 3, 6]
    assert "4 of 7 answers pass" in found["answers_run"].message


CARD, ACCOUNT = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    "value",
    ["AKIA" + "IOSFODNN7QUARTZ1", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "hf_" + "abCD" * 9, "AIza" + "B" * 35,
     "sk-ant-api03-" + "x1Y2" * 12, "maria.keller@bluewin.ch", CARD, ACCOUNT, "219-09-9999", "-----BEGIN RSA PRIVATE KEY-----",
     "+49 170 1234567", "(212) 555-0142",
     "glpat-" + "aB3" * 6 + "xY", "password: hunter42x"],
)  # fmt: skip
def test_secret_is_found_and_never_shown(value):
    records = prose()
    records[7] = {**records[7], "completion": f"The value is {value} for the bridge."}
    judgement = judge(rows_from_records(records, "planted", "memory"))
    assert [item.rows for item in judgement.findings] == [[7]]
    assert value not in judgement.findings[0].message
    assert value not in json.dumps(redact_record(records))


@pytest.mark.parametrize(
    "text",
    ["user@example.com", "4111 1111 1111 1112", "order 1234567890123456", "DE00 3704 0044 0532 0130 00", "ask-me-anything-now",
     "password = get_password(config)", "api_key = os.environ['KEY']", "token: <your token>", "2024-01-15T10:00:00", "sk-learn",
     "https://user:password@example.org", "3.14159265358979323846", "x = tokens[0]", "1+2 3 4", "2024-01-15", "10-20-3000", "127.0.0.1", "ISBN 978-3-16-148410-0"],
)  # fmt: skip
def test_harmless_text_is_no_secret(text):
    assert redact(text) == text


def test_paraphrases_and_template_variants_are_not_near_duplicates():
    """Same label, other entity; same template, other number; another wording of one short prompt."""
    rng = random.Random(5)
    template = "Classify the following support ticket by its urgency and answer with one word only. Ticket: the {} of {} is {}."
    records = [
        {"prompt": template.format(rng.choice(SUBJECTS), rng.choice(PLACES), rng.choice(MANNERS)), "completion": "low"}
        for _ in range(30)
    ] + [{"prompt": template.format("invoice", "May", f"number {n}"), "completion": "high"} for n in range(30)]
    unique = list({row["prompt"]: row for row in records}.values())
    assert "near_duplicates" not in run(unique)
    assert (
        run(
            [{"prompt": p, "completion": "0 12 * * *"} for p in ("daily at noon", "every day at noon", "at noon daily")]
        )
        == {}
    )
