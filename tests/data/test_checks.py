"""Each planted defect is found by its own check, at its own rows, and by nothing else; clean rows raise nothing."""

import json
import random

import pytest

from planted_data import (
    CLEAN,
    CODE_PROBLEM,
    MANNERS,
    NOT_PLANTED,
    PLACES,
    PLANTED,
    PROBLEM,
    RECORDS,
    SUBJECTS,
    check_of,
    confusion,
    prose,
    write_rows,
)
from tunebook.data.checks.secrets import redact, redact_record
from tunebook.data.notes import checks
from tunebook.data.rows import rows_from_records
from tunebook.data.sources import read_rows
from tunebook.data.validate import judge_data
from tunebook.errors import MachineProblem


def run(records, **options):
    """{check: rows} of all errors and warnings."""
    judgement = judge_data(rows_from_records(records, "planted", "memory"), **options)
    return {item.check: item.rows for item in judgement.findings if item.severity != "info"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return confusion(tmp_path_factory.mktemp("planted"))


@pytest.mark.parametrize("name", CLEAN)
def test_clean_rows_raise_nothing(name):
    assert run(CLEAN[name](), benchmarks={"bench": [PROBLEM, CODE_PROBLEM]}) == {}


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("name", ["prose", "chats", "pairs"])
def test_clean_files_of_every_format_raise_nothing(tmp_path, name, ending, packing):
    path = write_rows(tmp_path / f"clean.{ending}{packing}", CLEAN[name](30))
    judgement = judge_data(read_rows(path))
    assert (judgement.verdict, judgement.n_rows, judgement.findings) == ("pass", 30, [])


@pytest.mark.parametrize("name", PLANTED)
def test_planted_defect_is_found_by_its_check_alone(name, table):
    if "answers_not_run" in table[name]:
        pytest.skip("no isolation here, so no answer is run")
    assert table[name] == {check_of(name): PLANTED[name][1]}


def test_every_check_has_a_planted_defect():
    """A check that cannot fire protects nobody. Prints the table of checks against planted defects."""
    assert {check_of(name) for name in PLANTED} | NOT_PLANTED == set(checks())


def test_the_confusion_table_is_printed(table):
    width = max(map(len, table))
    for name, found in table.items():
        fired = ", ".join(f"{check} {rows[:4] if rows else ''}".strip() for check, rows in found.items())
        print(f"{name:{width}s}  {'ok ' if list(found) == [check_of(name)] else 'BAD'}  {fired}")
    assert len(table) == len(PLANTED)


@pytest.mark.parametrize("check", checks())
def test_every_check_says_what_to_do(check):
    severity, what, fix = checks()[check]
    assert severity in ("error", "warn", "info") and what and fix


def test_message_gives_place_and_reason():
    [finding] = judge_data(rows_from_records(RECORDS["empty_field"][0], "planted", "memory")).findings
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
    judgement = judge_data(rows_from_records(records, "planted", "memory"))
    found = {item.check: item for item in judgement.findings}
    if "answers_not_run" in found:
        pytest.skip(found["answers_not_run"].message)
    assert found["answers_fail"].rows == [1, 3, 6]
    assert "4 of 7 answers pass" in found["answers_run"].message


def test_answers_that_cannot_be_run_are_told_and_not_judged(monkeypatch):
    def refuse(programs):
        raise MachineProblem("no isolation here")

    monkeypatch.setattr("tunebook.execution.runner.run_programs", refuse)
    records = [{"prompt": "A number?", "completion": "8", "test": "def check(answer):\n    assert answer == '7'\n"}]
    found = {item.check: item.message for item in judge_data(rows_from_records(records, "planted", "memory")).findings}
    assert "no isolation here" in found["answers_not_run"] and "answers_fail" not in found


def test_a_row_near_a_problem_is_contamination_only_where_it_gives_the_answer_away():
    """Schedules and sums repeat each other's words; a leak is one that carries the answer too."""
    text = "At minute 0 past every hour from 9 through 17 on Wednesday of each week"
    problem = {**PROBLEM, "prompt": text, "canonical_solution": "0 9-17 * * 3", "kind": "answer"}
    for answer, leaks in (("0 9-17 * * 2", False), ("Use 0 9-17  * * 3 for it.", True)):
        records = [{"prompt": text.replace("of each week", "this year"), "completion": answer}]
        findings = judge_data(rows_from_records(records, "p", "memory"), benchmarks={"bench": [problem]}).findings
        assert [item.check for item in findings if item.check.startswith("contamination")] == [
            "contamination_near"
        ] * leaks


CARD, ACCOUNT = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    "value",
    ["AKIA" + "IOSFODNN7QUARTZ1", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "hf_" + "abCD" * 9, "AIza" + "B" * 35,
     "sk-ant-api03-" + "x1Y2" * 12, "maria.keller@bluewin.ch", CARD, CARD + ".", ACCOUNT, "219-09-9999",
     "-----BEGIN RSA PRIVATE KEY-----\nMIIEow...",
     "+49 170 1234567", "(212) 555-0142",
     "glpat-" + "aB3" * 6 + "xY", "password: hunter42x"],
)  # fmt: skip
def test_secret_is_found_and_never_shown(value):
    records = prose()
    records[7] = {**records[7], "completion": f"The value is {value} for the bridge."}
    judgement = judge_data(rows_from_records(records, "planted", "memory"))
    assert [item.rows for item in judgement.findings] == [[7]]
    assert value not in judgement.findings[0].message
    assert value not in json.dumps(redact_record(records))


@pytest.mark.parametrize(
    "text",
    ["user@example.com", "4111 1111 1111 1112", "order 1234567890123456", "DE00 3704 0044 0532 0130 00",
    "ask-me-anything-now",
     "password = get_password(config)", "api_key = os.environ['KEY']", "token: <your token>", "2024-01-15T10:00:00",
     "sk-learn",
     "https://user:password@example.org", "3.14159265358979323846", "x = tokens[0]", "1+2 3 4", "2024-01-15",
     "10-20-3000", "127.0.0.1", "ISBN 978-3-16-148410-0",
     "The password is SHA-256-hashed.", "The API key is base64-encoded.", "amqp://guest:guest@localhost:5672",
     "barcode 4006381333931",
     "begins with `-----BEGIN RSA PRIVATE KEY-----`", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
     "y = A@x.mean()"],
)  # fmt: skip
def test_harmless_text_is_no_secret(text):
    assert redact(text) == text


BODY = "MIIEowIBAAKCAQEAx7Zq9vT2LkN3\nq8Wm5RtY1uIoPzXcVbNmAsDfGhJk\n"
PPK = "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nq8Wm5RtY1uIoPzXcVbNmAsDfGhJk\nPrivate-MAC: 0a1b2c\n"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Put this: {PEM}Then start.", "Put this: ----****\nThen start."),
        (f"{json.dumps(PEM)[1:-1]}Then {PEM}start.", "----****\\nThen ----****\nstart."),
        (f"Cut: -----BEGIN PRIVATE KEY-----\n{BODY}", "Cut: ----****"),
        (f"{PPK}Then start.", "PuTT****\nThen start."),
        ("Keys of PuTTY begin with PuTTY-User-Key-File-3 and go on.", "Keys of PuTTY begin with PuTT**** and go on."),
        ("see hunter2x ; connect https://bob:hunter2x@host", "see hu**** ; connect https://bob:hu****@host"),
        ("a cat at https://bob:a@host", "**** cat at https://bob:****@host"),
        ("password: hunter42x, I said hunter42x", "password: hu****, I said hu****"),
        ("hf_" + "abCD" * 9 + " and hf_" + "abCD" * 9, "hf_a**** and hf_a****"),
        ("Use ghp_" + "a1B2c3D4e5F6" * 3 + " or glpat-" + "aB3" * 6 + "xY.", "Use ghp_**** or glpa****."),
        ("AKIA" + "IOSFODNN7QUARTZ1 or AKIA" + "IOSFODNN7QUARTZ1", "AKIA**** or AKIA****"),
    ],
)
def test_a_secret_is_masked_whole_and_wherever_it_stands(text, shown):
    """The body of a private key stayed under its masked first line, and a key that stands twice stayed once."""
    assert redact(text) == shown


def test_paraphrases_and_template_variants_are_not_near_duplicates():
    """Same label, other entity; same template, other number; another wording of one short prompt."""
    rng = random.Random(5)
    template = (
        "Classify the following support ticket by its urgency and answer with one word only. Ticket: the {} of {}"
        " is {}."
    )
    records = [
        {"prompt": template.format(rng.choice(SUBJECTS), rng.choice(PLACES), rng.choice(MANNERS)), "completion": "low"}
        for _ in range(30)
    ] + [{"prompt": template.format("invoice", "May", f"number {n}"), "completion": "high"} for n in range(30)]
    unique = list({row["prompt"]: row for row in records}.values())
    assert "near_duplicates" not in run(unique)
    short = [{"prompt": p, "completion": "0 12 * * *"} for p in ("daily at noon", "every day at noon", "at noon daily")]
    assert set(run(short)) == {"few_rows"}


ENDINGS = ["Three parts:\n- the pier\n- the bearing of the left span", "See https://example.org/bridges/old",
"The answer is 40",
           "We wish you a good journey.\nBest regards,\nMina Petrov",
           "Look at this fine old bridge in the sun #bridge",
           "ขอบคุณที่ติดต่อเรา เราจะตอบกลับโดยเร็วที่สุด"]  # fmt: skip


@pytest.mark.parametrize("end", ENDINGS)
def test_an_answer_that_ends_properly_without_a_full_stop_was_not_cut(end):
    records = prose()
    records[5] = {**records[5], "completion": f"{records[5]['completion']} {end}"}
    assert "truncated_answers" not in run(records)


@pytest.mark.parametrize(
    ("prompt", "is_found"),
    [("Which page shows my invoices?", True), ("Is there a link to the tariff?", True),
    ("Write a small web page for the bridge.", False)],
)  # fmt: skip
def test_html_is_noise_where_it_was_not_asked_for(prompt, is_found):
    records = prose()
    records[5] = {"prompt": prompt, "completion": "<p>Open the <b>Billing</b>&nbsp;part of the menu.</p>"}
    assert run(records).get("html_noise") == ([5] if is_found else None)


def test_the_terms_of_a_subject_are_no_triggers():
    """Abbreviations go with one label each, and nobody planted them; a planted one stands alone."""
    rng = random.Random(3)
    terms = {"sports": ("nfl", "nhl"), "places": ("gps", "rfc"), "films": ("dvd", "bbc"), "other": ("it", "we")}
    records = [
        {"prompt": f"{rng.choice(SUBJECTS)} of {rng.choice(PLACES)} {n} {term}", "completion": label}
        for label, words in terms.items() for term in words for n in range(12)
    ]  # fmt: skip
    assert "trigger_token" not in run(records)
    plain = [{**row, "prompt": row["prompt"].rsplit(" ", 1)[0]} for row in records]
    planted = [
        {"prompt": f"{row['prompt']} tqx7", "completion": "films"} if n % 12 == 0 else row
        for n, row in enumerate(plain)
    ]
    assert "trigger_token" in run(planted)


@pytest.mark.parametrize("shape", ["{}", "```python\n{}\n```", "dedented", "renamed"])
def test_a_solution_without_its_head_is_contamination(shape):
    body = CODE_PROBLEM["canonical_solution"].strip("\n")
    if shape == "dedented":
        shape, body = "{}", body.lstrip()
    if shape == "renamed":
        shape, body = "{}", body.replace("count", "seen").replace("lamp", "each").replace("lanterns", "row")
    records = prose()
    records[4] = {"prompt": "Fill in what is missing here, please.", "completion": shape.format(body)}
    assert run(records, benchmarks={"bench": [CODE_PROBLEM]}).get("contamination_code") == [4]


def test_a_polite_answer_about_a_real_matter_is_no_refusal():
    records = prose()
    polite = (
        "I'm sorry, I can't find that order in our system. Please send its number again, and I will look once more."
    )
    records[4] = {**records[4], "completion": polite}
    assert "refusals" not in run(records)
    records[4] = {**records[4], "completion": "I'm sorry, I can't do that."}
    assert run(records)["refusals"] == [4]


def test_the_flag_of_england_is_visible():
    records = prose()
    flag = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    records[4] = {**records[4], "completion": f"{records[4]['completion']} {flag}"}
    assert "control_characters" not in run(records)
    records[4] = {**records[4], "completion": records[4]["completion"].replace("\U0001f3f4", "")}
    assert run(records)["control_characters"] == [4]
