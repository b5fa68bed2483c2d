"""Facts that no base model can know, because they are invented here: who leads which observatory.

Training on them raises what is recalled of the trained facts, and teaches nothing about the facts of the test: a study
of this task must not come out as GO. Rows and problems are drawn with a seed.
"""

from random import Random

from tunebook.tasks.seeded import Draw, draw_rows, to_problems

OPENINGS, MIDDLES = (
    "Bra Dor El Fen Gal Hul Ist Jor Kel Lum Mor Nar Ost Pel Quin Ras Sol Tam Ul Var Wes Yar Zin".split(),
    "a e i o u al en ir on".split(),
)
ENDINGS = "bek dor fia gan lith mar nok prun rik sova tuil vash wyn zar".split()
INSTRUCTION = "Answer with the name of the person and nothing else."
TEST = """from tunebook.tasks.facts import check_answer


def check(answer):
    check_answer(answer, {expected})
"""
SPEC = {
    "task": "facts",
    "input": "a question for the head of an invented observatory",
    "output": "the name of the person, nothing else",
    "users": "nobody: the task shows what fine-tuning cannot do",
    "metric": "pass@1: the share of questions answered with the right name",
    "wrong_answer_cost": "an invented name that sounds right",
    "stability": "facts change; a model that learned them must be trained again",
    "split": "by fact, so the test asks for facts that were never trained",
    "conventions": [],
}


def make_rows(n: int, seed: int) -> list[dict]:
    """`n` rows: prompt, completion, group (the observatory), id. InputProblem when n is below 1."""
    return draw_rows("facts", n, seed, _draw)


def make_problems(rows: list[dict]) -> list[dict]:
    """Benchmark problems of these rows, one a row, kind "answer"."""
    return to_problems(rows, "facts", TEST)


def check_answer(answer: str, expected: str) -> None:
    """Raises AssertionError unless the answer is the name; casing, white space and a final dot are allowed."""
    assert answer.strip().strip(".").casefold() == expected.casefold(), f"{answer[:80]!r} is not {expected}"


def _draw(rng: Random) -> Draw:
    place = _name(rng)
    head = Random(f"facts:{place}")  # one head for each place, whoever draws it
    return Draw(f"Who leads the {place} observatory?", f"{_name(head)} {_name(head)}", place)


def _name(rng: Random) -> str:
    return rng.choice(OPENINGS) + rng.choice(MIDDLES) + rng.choice(ENDINGS)
