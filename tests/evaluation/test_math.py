"""Answers to mathematical problems: equal forms are right, near misses are wrong, and what cannot be compared is said."""

import json

import pytest

from tunebook.data.study_data import Sizes, load_study_data, problems_of
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems, load_benchmark
from tunebook.evaluation.extraction import extract
from tunebook.evaluation.reading.math_answers import is_same, require_same, why_not_compared
from tunebook.evaluation.reply import Reading
from tunebook.evaluation.score import score

# what is expected, then what is the same as it
RIGHT = {
    r"\frac{1}{2}": ["0.5", r"\dfrac12", "1/2", r"$\tfrac{1}{2}$.", r"\frac 1 2", r"\frac{2}{4}", r"\left(\frac12\right)"],
    "1,234": [r"1{,}234", r"1,\!234", "1234", r"\$1,234.00", "1234 dollars"],
    r"1{,}234": ["1234.", r"1\,234"],
    "0.001": ["10^{-3}", "1/1000", "1e-3"],
    "1500": ["1 500", "1.5e3", r"1.5 \times 10^3", "1,500"],
    r"\frac{3}{2}": ["1 1/2", "1\u00bd", r"1\frac12", r"1 \frac{1}{2}", "1.5"],
    r"90^{\circ}": ["90", "90\u00b0", r"90^\circ", r"90 \text{ degrees}"],
    r"50\%": ["50", "50%", "0.5", r"\frac12"],
    r"5\text{ cm}": ["5", "5 cm", r"5 \text{ centimeters}", r"5\,\mathrm{cm}"],
    r"12\text{ in}^2": ["12", "12 square inches", r"12 \text{ in}^2"],
    r"\text{Evelyn}": ["Evelyn", "evelyn", r"\textbf{Evelyn}", r"\text{Evelyn}."],
    r"\text{(B)}": ["B", "(B)", r"\textbf{B}"],
    r"2\sqrt{3}": [r"2\sqrt{3} \approx 3.46", r"x = 2\sqrt{3}", "2*sqrt(3)", r"2\sqrt3", r"\sqrt{12}", "2\u221a3"],
    r"\left( 3, \frac{\pi}{2} \right)": [r"(3,\frac{\pi}{2})", "(3, pi/2)", r"\left(3, \dfrac{1}{2}\pi\right)"],
    "5, -3": ["-3,5", r"x=5 \text{ or } x=-3", r"\{-3, 5\}"],
    r"3+\sqrt{2}, 3-\sqrt{2}": [r"3 \pm \sqrt{2}", r"x = 3 \pm \sqrt2"],
    r"(-\infty, 3] \cup [5, \infty)": [r"[5,\infty)\cup(-\infty,3]", "(-\u221e, 3] \u222a [5, \u221e)"],
    "(x+1)^2": ["x^2+2x+1", "(1+x)^{2}", r"(x+1)\cdot(x+1)"],
    r"\frac{3x}{4}": [r"\frac{3}{4}x", "0.75x", "3x/4"],
    "y = 2x + 3": ["y=2x+3", "2x+3", "2x-y+3=0", "3+2x"],
    "7": ["x=7", "7.0", "+7", "7 = x", "2^3 - 1 = 7"],
    "4343_6": ["4343", "4343_{6}", r"4343_{\text{6}}"],
    r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}": [r"\begin{pmatrix}1\\2\end{pmatrix}"],
    r"0.\overline{6}": ["2/3"],
    "3:2": ["3 : 2"],
    "[1, 2)": [r"x \in [1,2)", "[1,2)"],
    "1+2i": ["2i+1"],
    r"-\frac12": [r"\frac{-1}{2}", "-0.5", "\u22120.5"],
    r"\$10": ["10", "$10", "10 dollars", r"\$10.00", "1000 cents", r"x = \$10", "1000\u00a2"],
    r"10 \text{ cents}": ["10", r"\$0.10", "0.1 dollars", "10\u00a2", "$0.10"],
    r"1\text{ hour}": ["60 minutes", "3600 seconds", "1 hr", r"t = 60\text{ min}"],
    r"1.5\text{ m}": ["150 cm", r"1500\text{ mm}", "1.5", "1 1/2 meters"],
    r"3\text{ ft}^2": ["432 square inches", r"3\text{ sq ft}", r"\frac13 \text{ square yards}"],
    r"\$5\text{ per hour}": ["5 dollars per hour", "5"],
    r"30\text{ mph}": ["30 miles per hour", r"30\text{ mi/h}", "44 feet per second", "0.5 miles per minute", "30"],
    r"\$3, \$4": ["3 dollars, 4 dollars", "3, 4"],
    r"5\text{ percent}": [r"5\%", "5 percent", "0.05"],
    "\u00a35": ["5 pounds", "5"],
}  # fmt: skip
# traps: what is expected, then what is near it and another answer
WRONG = {
    "4": ["2+2", "-4", "40", r"\sqrt{16}", "4, 4", "4x", "no answer", ""],
    "5": ["x=5, y=7", "5^2", "0.5", "5/2"],
    r"\frac{1}{3}": ["0.333", "0.3333333333", "3", r"\frac{1}{2}", "1, 3"],
    r"\pi": ["3.14", "3.14159265", r"2\pi"],
    r"\sqrt{2}": [r"1.5 \approx \sqrt{2}", "1.414", "2", "1.41421356"],
    "[1,2]": [r"x \in (1,2)", "(1,2)", "(1,2]", "1,2", "[2,1]"],
    "(1,2)": ["(2,1)", "(1,2,3)", "(1,2"],
    "1234": ["(1,234)", "1.234", "1, 234"],
    "11/2": ["1 1/2", r"1\frac12"],
    r"5\text{ cm}": [r"5\text{ m}", "5 inches", r"5\text{ cm}^2"],
    "0.5": ["50", r"0.5\%"],
    "listen": ["silent"],
    r"\text{even}": ["odd", "not even", "even or odd"],
    r"\text{(B)}": ["C", r"\text{(A)}", "A or B"],
    "x": ["|x|", r"\sqrt{x^2}", "y", "2x"],
    "y=2x": ["x=2y", "y=2x+1"],
    "101_2": ["5", "101_3", "111_2"],
    "1,2,3": ["1,2", "1,2,2", "1,2,4"],
    "100": ["1e3", "10^3", "1e1"],
    r"\$10": ["10 cents", "10\u00a2", "$1000", "10 euros", "\u20ac10", "10 cm", r"10\%", r"x = 10\text{ cents}", r"10^\circ"],
    r"10 \text{ cents}": [r"\$10", "10 dollars", "$10", "0.10 cents"],
    r"1.5\text{ m}": ["1.5 cm", "150 m^2", "1.5 hours", r"x = 1.5\text{ km}", "1.5 square meters"],
    r"2\text{ hours}": ["2 minutes", "2 days", "120 seconds", r"2\%"],
    r"3\text{ ft}^2": ["36 square inches", "3 ft", r"3\text{ ft}^3", "1 square yard"],
    r"5\%": ["5 cm", "0.05 percent", r"\$5", "5 degrees"],
    r"90^\circ": ["90 cm", r"\$90", r"90\text{ radians}"],
    r"x = 5\text{ cm}": ["5 m", r"x = 5\text{ m}"],
    r"\$3, \$4": ["3 cents, 4 cents"],
    "12 apples": ["12 oranges"],
    r"3\text{ m/s}": [r"3\text{ km/h}", "3 m", r"3\text{ m/min}"],
}  # fmt: skip
# what is expected, an answer, the question, and whether it answers that
ASKED = [
    ("(x-2)(x+2)", "x^2-4", "Factor $x^2-4$.", False),
    ("(x-2)(x+2)", "(x+2)(x-2)", "Factor $x^2-4$.", True),
    ("x^2+2x+1", "(x+1)^2", "Expand $(x+1)^2$.", False),
    (r"2\sqrt{3}", r"\sqrt{12}", r"Write $\sqrt{12}$ in simplest form.", False),
    ("1024", "2^{10}", "Evaluate $2^{10}$.", False),
    ("1024", "2^{10}", "Which power of two has four digits?", True),
    (r"\frac23", r"\frac{24}{36}", r"Reduce $\frac{24}{36}$.", False),
    (r"\frac12", "1/2", "Which is larger, $1/2$ or $1/3$?", True),
    ("25", r"25\%", "What percent is a quarter?", True),
    ("5", r"5\%", "What is a tenth of 50?", False),
]


def test_the_table_has_many_cases_of_both_kinds():
    assert sum(map(len, RIGHT.values())) >= 60 and sum(map(len, WRONG.values())) >= 50


@pytest.mark.parametrize("expected", RIGHT)
def test_an_equal_form_is_right(expected):
    assert not why_not_compared(expected)
    assert [text for text in [expected, *RIGHT[expected]] if not is_same(text, expected)] == []


@pytest.mark.parametrize("expected", WRONG)
def test_a_near_miss_is_wrong(expected):
    assert not why_not_compared(expected)
    assert [text for text in WRONG[expected] if is_same(text, expected)] == []


@pytest.mark.parametrize(("expected", "answer", "question", "is_right"), ASKED)
def test_what_the_question_asks_for_counts(expected, answer, question, is_right):
    assert is_same(answer, expected, question) is is_right


@pytest.mark.parametrize(
    ("expected", "words"),
    [("x > 3", "inequality"), (r"-2 \le x < 3", "inequality"), (r"\lfloor x \rfloor", "lfloor is not read"), ("", "empty"),
     (r"\text{all even numbers above 2}", "is not read"), ("x" * 2000, "2000 characters")],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(expected, words):
    assert words in why_not_compared(f"\\boxed{{{expected}}}")


HOSTILE = [
    "(" * 900,
    "9^9^9^9",
    "9" * 900 + "!",
    "{" * 500,
    r"\frac{1}{0}",
    "0^{-1}",
    r"\frac{",
    "=" * 400,
    '"',
    "\\",
    "x^" * 400,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_answer_breaks_the_comparison(text):
    assert not is_same(text, "7") and not is_same(text, "x+1")


MATH = {
    "problem": r"What is $\frac{1}{4}+\frac{1}{4}$?",
    "level": "Level 1",
    "type": "Prealgebra",
    "solution": r"First, $\boxed{\text{add}}$. Then $\frac{1}{4}+\frac14=\boxed{\frac{1}{2}}$.",
}
REPLIES = [
    (r"So it is $\boxed{\dfrac12}$.", "pass"),
    (r"\boxed{1}, no: \boxed{0.5}", "pass"),
    ("Final Answer: The final answer is $1/2$. I hope it is correct.", "pass"),
    ("I add.\n\n**Answer:** 1/2", "pass"),
    ("1/4 + 1/4 = 2/4, so\n$$\\frac{1}{2}$$", "pass"),
    ("<think>\\boxed{1/2}</think>\\boxed{\\frac{1}{3}}", "wrong"),
    (r"\boxed{\frac{1}{2}} is wrong, it is \boxed{\frac{1}{4}+\frac{1}{4}}", "wrong"),
    (r"It is \boxed{\frac{1}{2", "no_code"),
    ("The answer is 1/2 of it and more", "wrong"),
    (r"The answer is $\frac12$ or $\frac13$.", "wrong"),
    (r"With $x=2$ I get $\frac12$ or $2$.", "wrong"),
    (r"The answer is not $\frac12$.", "wrong"),
    (r"The answer is $\frac12$, since $a=1$.", "pass"),
    (r"As $a = 3$, it is $\frac{1}{2}$.", "pass"),
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_math_as_published_is_judged_by_value(tmp_path):
    benchmark = load_benchmark(write(tmp_path / "math.jsonl", [MATH]))
    assert benchmark.reading == "boxed" and benchmark.slices() == {"Prealgebra": ["0"]}
    rows = [{"task_id": "0", "completion": text} for text, _ in REPLIES]
    score(benchmark, rows, tmp_path / "s", workers=1)
    found = [json.loads(line)["verdict"] for line in (tmp_path / "s" / "scores.jsonl").read_text().splitlines()]
    assert found == [verdict for _, verdict in REPLIES]


def test_problems_whose_answers_cannot_be_compared_are_named_and_can_be_left_out(tmp_path):
    odd = {**MATH, "solution": r"\boxed{x > 3}", "unique_id": "algebra/7"}
    benchmark = load_benchmark(write(tmp_path / "math.jsonl", [{**MATH, "unique_id": "a"}, odd]))
    rows = [{"task_id": task, "completion": r"\boxed{1/2}"} for task in ("a", "algebra/7")]
    with pytest.raises(
        InputProblem, match="this kit cannot judge 1 of 2 problems: algebra/7: .*inequality.*--leave-out"
    ):
        score(benchmark, rows, tmp_path / "s", workers=1)
    assert score(benchmark.without(["algebra/7"]), rows[:1], tmp_path / "s", workers=1)["k"] == 1


@pytest.mark.parametrize(
    ("rows", "mapping"),
    [
        ([{"problem": "Sum?", "answer": "204"}, {"problem": "Product?", "answer": 25}], {}),
        ([{"Problem": "Sum?", "Answer": r"\frac{1}{2}"}, {"Problem": "?", "Answer": "204"}],
         {"prompt": "Problem", "canonical_solution": "Answer"}),
        ([{"question": "Sum?", "answer": r"It is \boxed{204}."}], {}),
        ([{"problem": "Sum?", "solution": r"It is \boxed{204}.", "answer": "204", "source": "x"}], {}),
    ],
    ids=["AIME", "mapped LaTeX answers", "boxed under other names", "NuminaMath"],
)  # fmt: skip
def test_answers_that_are_mathematical_are_compared_by_value(tmp_path, rows, mapping):
    """Mapped as exact texts, every reply with a word of explanation was wrong."""
    problem = load_benchmark(write(tmp_path / "b.jsonl", rows), mapping).problems[-1]
    names: dict = {}
    exec(problem["test"], names)  # noqa: S102 - of the kit's own shape
    names["check"](
        extract("It is 200 and 4.\n\\boxed{204.0}" if "25" not in problem["test"] else "25", problem, Reading("boxed"))
    )
    with pytest.raises(AssertionError):
        names["check"](extract("\\boxed{203}", problem, Reading("boxed")))


def test_answers_that_are_all_numbers_are_read_as_the_last_number(tmp_path):
    rows = [{"q": "How many?", "a": "1,072"}, {"q": "How much?", "a": 3.5}]
    benchmark = load_benchmark(write(tmp_path / "b.jsonl", rows), {"prompt": "q", "canonical_solution": "a"})
    texts = {"0": ["So there are 1072 of 2,000.\n#### 1072", "1071"], "1": ["It costs $3.50.", "3.5 or 4"]}
    replies = [{"task_id": task, "completion": text} for task, both in texts.items() for text in both]
    assert score(benchmark, replies, tmp_path / "s", workers=1)["verdicts"] == {"pass": 2, "wrong": 2}


@pytest.mark.parametrize(
    ("solution", "right", "wrong"),
    [(r"So $x$ is $\boxed{\frac12}$.", "I get \\boxed{0.5}", "\\boxed{2}"), ("6 + 6 = 12\n#### 12", "It is 12.", "It is 13."),
     ("noon", "noon", "It is noon.")],
    ids=["boxed", "GSM8K's mark", "words"],
)  # fmt: skip
def test_own_rows_that_mark_their_answer_are_judged_by_it(tmp_path, solution, right, wrong):
    """Solutions were compared word for word, so no answer to them could be right."""
    row = {"prompt": [{"role": "user", "content": "?"}], "completion": [{"role": "assistant", "content": solution}]}
    benchmark = from_problems("own", problems_of("", [{**row, "record": n} for n in range(2)]))
    texts = [{"task_id": f"own/{n}", "completion": text} for n, text in enumerate((right, wrong))]
    score(benchmark, texts, tmp_path / "s", workers=1)
    found = [json.loads(line)["verdict"] for line in (tmp_path / "s" / "scores.jsonl").read_text().splitlines()]
    assert found == ["pass", "wrong"]


def test_a_row_without_the_mark_of_the_others_leaves_and_does_not_make_all_word_for_word(tmp_path):
    """One odd row in train had 08 reward nothing and 10 pay for nothing, while dev and test were judged by value."""
    rows = [{"prompt": f"What is {n} + 1?", "completion": f"We add. So $\\boxed{{{n + 1}}}$."} for n in range(160)]
    rows += [{"prompt": f"What is {n} + 1?", "completion": f"It is {n + 1}."} for n in range(160, 166)]
    path = write(tmp_path / "rows.jsonl", rows)
    data = load_study_data("", str(path), "", Sizes(80, 10, 10))
    for problems in (data.dev_problems, data.test_problems, problems_of("", data.train)):
        assert problems and {problem.get("reading") for problem in problems} == {"boxed"}
    assert len(data.dev) == len(data.dev_problems) and len(data.test) == len(data.test_problems)
    plain = [{**row, "completion": row["completion"] if n % 2 else "noon"} for n, row in enumerate(rows)]
    data = load_study_data("", str(write(tmp_path / "half.jsonl", plain)), "", Sizes(80, 10, 10))
    assert {problem.get("reading") for problem in data.dev_problems + data.test_problems} == {None}


def test_questions_with_answers_in_words_stay_exact(tmp_path):
    rows = [{"question": "Which month?", "answer": "May"}]
    with pytest.raises(InputProblem, match="only the same words are right"):
        load_benchmark(write(tmp_path / "b.jsonl", rows))


def test_a_whole_solution_is_compared_by_its_last_box():
    require_same(MATH["solution"], r"\boxed{0.5}")
