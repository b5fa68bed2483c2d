"""A task of the form most asked for: fields out of an order mail, a log line or an address block, as JSON of a fixed
schema.

Every text holds each field once, in an order and spelling of its own; what is not in the text is null. Rows and
problems are drawn with a seed. `check_answer` says whether the answer is JSON, and which fields are wrong, in one line
that scores keep as `detail`.
"""

import json
from random import Random

from tunebook.errors import InputProblem
from tunebook.files import parse_json
from tunebook.tasks.seeded import Draw, draw_rows, to_problems

FIELDS = {
    "order": "order item quantity total date".split(),
    "log": "time level service status milliseconds".split(),
    "address": "name street postcode city country".split(),
}
MONTHS = "January February March April May June July August September October November December".split()
FIRST, LAST = (
    "Ada Bilal Chen Dora Emeka Freya Goran Hana Ines Jonas".split(),
    "Abel Brandt Costa Diaz Eriksen Fischer Gupta Haas".split(),
)
STREETS = "Mill Lane|Station Road|Harbour Street|Oak Avenue|Church Hill|Garden Row|North Quay|Market Square".split("|")
CITIES = {
    "Leeds": "United Kingdom",
    "Graz": "Austria",
    "Porto": "Portugal",
    "Aarhus": "Denmark",
    "Turin": "Italy",
    "Ghent": "Belgium",
}
ITEMS = (
    "desk lamp|rain jacket|coffee grinder|bike lock|wool blanket|phone case|garden hose|water bottle|tent pole".split(
        "|"
    )
)
SERVICES = "billing search checkout mailer gateway sessions".split()
ORDERS = (
    "Hi, I ordered {quantity} x {item} on {day} (order {order}). The invoice says {total} EUR, is that right?",
    "Order {order}\nDate: {day}\nItem: {item}\nQuantity: {quantity}\nTotal: EUR {total}",
    "My order {order} of {day} has not come: {quantity} {item}, {total} euros paid.",
    "Please cancel {order}. It was {item}, {quantity} pieces, {total} EUR, bought {day}.",
    "On {day} I paid {total} EUR for {quantity} of your {item}; the number is {order}.",
    "Thank you for your order!\n\n{quantity} x {item} ........ {total} EUR\nNo. {order}\nWe will send it soon.",
)
LOGS = (
    "{time} {level} [{service}] request done status={status} in {milliseconds} ms",
    "{level} {time} {service}: HTTP {status} ({milliseconds}ms)",
    "time={time} svc={service} lvl={level} status={status} dur={milliseconds}ms",
    "[{time}] {service} - {level} - answered {status} after {milliseconds} milliseconds",
    "{time} {service} {level} connection lost",
)
ADDRESSES = (
    "{name}\n{street}\n{postcode} {city}\n{country}",
    "Ship to: {name}, {street}, {city} {postcode}, {country}",
    "{name}, living at {street} in {city} ({postcode}), {country}.",
    "Name: {name}\nCity: {city}\nStreet: {street}\nPostcode: {postcode}\nCountry: {country}",
    "{street}, {postcode} {city}\nattn. {name}",
)
INSTRUCTION = (
    "Answer with one JSON object and nothing else. It has exactly the named fields; a field that the text does not give"
    " is null. Numbers are JSON numbers, dates are YYYY-MM-DD, times YYYY-MM-DDTHH:MM:SS, log levels are in upper case."
)
TEST = """from tunebook.tasks.text_to_fields import check_answer


def check(answer):
    check_answer(answer, {expected})
"""
SPEC = {
    "task": "text_to_fields",
    "input": "an order mail, a log line or an address block, and the names of five fields",
    "output": "one JSON object with exactly these fields",
    "users": "whoever types such texts into a form today",
    "metric": "pass@1: the share of texts whose five fields are all right",
    "slices": list(FIELDS),
    "wrong_answer_cost": (
        "a wrong record in a database; answers that are no JSON of the schema are caught, wrong values are not"
    ),
    "stability": "stable while the forms of the texts are",
    "split": "by record, so that no record of the test is trained on",
    "conventions": [
        "A field that the text does not give is null.",
        "Dates are YYYY-MM-DD and times YYYY-MM-DDTHH:MM:SS, however the text writes them; 5.3.2026 is 5 March.",
        'The order of the fields and white space do not matter; 12.5 and 12.50 are equal, 12 and "12" are not.',
    ],
}


def make_rows(n: int, seed: int) -> list[dict]:
    """`n` rows: prompt, completion (JSON, one field a line), group (the record), slice, id. InputProblem when n is
    below 1.
    """
    return draw_rows("text_to_fields", n, seed, _draw)


def make_problems(rows: list[dict]) -> list[dict]:
    """Benchmark problems of these rows, one a row, kind "answer"."""
    return to_problems(rows, "text_to_fields", TEST, reading="whole")


def check_answer(answer: str, expected: str) -> None:
    """Raises AssertionError, which says what is wrong, unless the answer is JSON with the fields and values of
    `expected`.

    >>> check_answer('{"b": null, "a": 1.50}', '{"a": 1.5, "b": null}')
    >>> check_answer('{"a": "1.5"}', '{"a": 1.5, "b": null}')
    Traceback (most recent call last):
    AssertionError: valid JSON, 0 of 2 fields right: a is "1.5", not 1.5; b is missing
    """
    wanted = json.loads(expected)
    try:
        found = parse_json(answer.strip(), "the answer")
    except InputProblem as problem:
        raise AssertionError(f"no valid JSON, 0 of {len(wanted)} fields right: {str(problem)[:200]}") from None
    if not isinstance(found, dict):
        raise AssertionError(f"valid JSON, but no object: {json.dumps(found)[:60]}")
    wrong = [_fault(name, found, value) for name, value in wanted.items() if not _is_equal(found, name, value)]
    extra = [f"{name[:40]} is not asked for" for name in found if name not in wanted]
    if wrong or extra:
        right = f"{len(wanted) - len(wrong)} of {len(wanted)} fields right"
        raise AssertionError(f"valid JSON, {right}: {'; '.join((wrong + extra)[:8])}")


def _is_equal(found: dict, name: str, value: object) -> bool:
    """Equal JSON values: 1 and 1.0 are, true and 1 are not."""
    return name in found and found[name] == value and isinstance(found[name], bool) == isinstance(value, bool)


def _fault(name: str, found: dict, value: object) -> str:
    if name not in found:
        return f"{name} is missing"
    return f"{name} is {json.dumps(found[name], ensure_ascii=False)[:60]}, not {json.dumps(value, ensure_ascii=False)}"


def _draw(rng: Random) -> Draw:
    kind = rng.choice(list(FIELDS))
    form, said, record = {"order": _order, "log": _log, "address": _address}[kind](rng)
    given = {"date": "day"}  # said in another form than the field has
    answer = {name: record[name] if f"{{{given.get(name, name)}}}" in form else None for name in FIELDS[kind]}
    message = f"{form.format(**record | said)}\n\nJSON with {', '.join(FIELDS[kind])}:"
    text = json.dumps(answer, ensure_ascii=False, indent=0)  # several lines, so that the extractor takes whole answers
    return Draw(message, text, text, kind)


def _order(rng: Random) -> tuple[str, dict, dict]:
    month, day = rng.randint(1, 12), rng.randint(1, 28)
    record = {
        "order": f"{rng.choice('ABCDEFGHKLMNPRSTUVWX')}{rng.choice('ABCDEFGHKLMNPRSTUVWX')}-{rng.randint(1000, 9999)}",
        "item": rng.choice(ITEMS),
        "quantity": rng.randint(1, 12),
        "total": rng.randint(500, 50_000) / 100,
        "date": f"2026-{month:02d}-{day:02d}",
    }
    name = MONTHS[month - 1]
    spelt = (
        record["date"],
        f"{day} {name} 2026",
        f"{name} {day}, 2026",
        f"{day}.{month}.2026",
        f"{day} {name[:3]} 2026",
    )
    return rng.choice(ORDERS), {"day": rng.choice(spelt), "total": f"{record['total']:.2f}"}, record


def _log(rng: Random) -> tuple[str, dict, dict]:
    day, hour, minute, second = (
        f"2026-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        *(rng.randint(0, n) for n in (23, 59, 59)),
    )
    clock = f"{hour:02d}:{minute:02d}:{second:02d}"
    record = {
        "time": f"{day}T{clock}",
        "level": rng.choice(("DEBUG", "INFO", "WARNING", "ERROR")),
        "service": rng.choice(SERVICES),
        "status": rng.choice((200, 201, 204, 301, 400, 401, 403, 404, 429, 500, 502, 503)),
        "milliseconds": rng.randint(1, 9999),
    }
    spelt = (record["time"], f"{day} {clock}", f"{day.replace('-', '/')} {clock}")
    return rng.choice(LOGS), {"time": rng.choice(spelt), "level": rng.choice((str, str.lower))(record["level"])}, record


def _address(rng: Random) -> tuple[str, dict, dict]:
    city = rng.choice(list(CITIES))
    record = {
        "name": f"{rng.choice(FIRST)} {rng.choice(LAST)}",
        "street": f"{rng.randint(1, 240)} {rng.choice(STREETS)}",
        "postcode": f"{rng.randint(10_000, 99_999)}",
        "city": city,
        "country": CITIES[city],
    }
    return rng.choice(ADDRESSES), {}, record
