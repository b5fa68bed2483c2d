"""A task that needs no training: find the order number in a customer's sentence. A few worked examples are enough.

It is here so that a study can come out as "prompting is enough". Rows and problems are drawn with a seed.
"""

from random import Random

from tunebook.tasks.seeded import Draw, draw_rows, to_problems

SENTENCES = (
    "Hello, my order {n} has not arrived yet.",
    "Where is order {n}? I have waited for a week.",
    "I want to send back {n}, it does not fit.",
    "The invoice for {n} is wrong.",
    "Please cancel {n} today.",
    "Order {n} came with a broken lid.",
    "Can you change the address of {n}?",
    "I paid for {n} twice.",
    "My neighbour took the parcel of order {n}.",
    "{n} was delivered to the wrong house.",
    "Thanks, {n} arrived early!",
    "Is {n} already on its way?",
)
LETTERS = "ABCDEFGHKLMNPRSTUVWX"
INSTRUCTION = "Answer with the order number in the message and nothing else."
TEST = """def check(answer):
    assert answer.strip().strip(".") == {expected}, answer
"""
SPEC = {
    "task": "order_number",
    "input": "one sentence of a customer that holds an order number like KB-4821",
    "output": "the order number, nothing else",
    "users": "a help desk that sorts messages by order",
    "metric": "pass@1: the share of messages whose order number is given exactly",
    "wrong_answer_cost": "a message lands with the wrong order; somebody notices when it is read",
    "stability": "stable: the form of the numbers is fixed by the shop",
    "conventions": [],
}


def make_rows(n: int, seed: int) -> list[dict]:
    """`n` rows: prompt, completion, group (the number), id. InputProblem when n is below 1."""
    return draw_rows("order_number", n, seed, _draw)


def make_problems(rows: list[dict]) -> list[dict]:
    """Benchmark problems of these rows, one a row, kind "answer"."""
    return to_problems(rows, "order", TEST)


def check_answer(answer: str, expected: str) -> None:
    """Raises AssertionError unless the answer is the number; white space and a final dot are allowed."""
    assert answer.strip().strip(".") == expected, answer


def _draw(rng: Random) -> Draw:
    number = f"{rng.choice(LETTERS)}{rng.choice(LETTERS)}-{rng.randrange(1000, 10000)}"
    return Draw(f"Message: {rng.choice(SENTENCES).format(n=number)}\nOrder number:", number, number)
