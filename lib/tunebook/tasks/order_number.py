"""A task that needs no training: find the order number in a customer's sentence. A few worked examples are enough.

It is here so that a study can come out as "prompting is enough". Rows and problems are drawn with a seed.
"""

import hashlib
from random import Random

from tunebook.errors import InputProblem

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
    assert answer.strip().strip(".") == "{number}", answer
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
    if n < 1:
        raise InputProblem(f"order_number makes 1 row or more, {n} were asked")
    return [_row(Random(f"order_number:{seed}:{at}")) for at in range(n)]


def make_problems(rows: list[dict]) -> list[dict]:
    """Benchmark problems of these rows, one a row, kind "answer"."""
    return [
        {
            "task_id": f"order/{at:04d}",
            "prompt": row["prompt"][0]["content"],
            "entry_point": "check",
            "canonical_solution": row["group"],
            "test": TEST.format(number=row["group"]),
            "kind": "answer",
            "reading": "first_line",
        }
        for at, row in enumerate(rows, start=1)
    ]


def check_answer(answer: str, expected: str) -> None:
    """Raises AssertionError unless the answer is the number; white space and a final dot are allowed."""
    assert answer.strip().strip(".") == expected, answer


def _row(rng: Random) -> dict:
    number = f"{rng.choice(LETTERS)}{rng.choice(LETTERS)}-{rng.randrange(1000, 10000)}"
    text = f"Message: {rng.choice(SENTENCES).format(n=number)}\nOrder number:"
    return {
        "id": hashlib.sha256(text.encode()).hexdigest()[:12],
        "prompt": [{"role": "user", "content": text}],
        "completion": [{"role": "assistant", "content": number}],
        "group": number,
    }
