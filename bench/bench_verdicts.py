"""Simulated studies whose truth is known: how often does each verdict come out, against the error rate that the rules
promise?

Scores are drawn problem by problem with the usual correlation between two checkpoints; the verdict is
`decision.verdict.decide`, as in
06. In the leak scenario real files go through 01's own data path first.
"""

import json
import tempfile
from pathlib import Path

import numpy

N, KEPT, CORRELATION, BASE = 400, 1000, 0.47, 0.3  # problems of the task, of the gated benchmark
SPEC = {
    "smallest_gain": 0.0,
    "largest_loss": 5.0,
    "largest_bits_rise": 10.0,
    "gated": ["kept", "bits_per_byte"],
    "target_score": 90.0,
}
# name, true gain (points), true loss on the gated benchmark (points), true rise of bits (percent), prompt's true rate,
# what must hold
SCENARIOS = (
    ("no effect", 0.0, 0.0, 0.0, 0.1, ("GO", "at most", 0.05)),
    ("small gain, 3 points", 3.0, 0.0, 0.0, 0.1, ("NO-GO", "at most", 0.05)),
    ("large gain, 20 points", 20.0, 0.0, 0.0, 0.1, ("GO", "at least", 0.8)),
    ("loss, 20 points worse", -20.0, 0.0, 0.0, 0.1, ("NO-GO", "at least", 0.8)),
    ("large gain, forgets 20 points", 20.0, 20.0, 0.0, 0.1, ("NO-GO", "at least", 0.8)),
    ("large gain, forgets exactly the margin", 20.0, 5.0, 0.0, 0.1, ("GO", "at most", 0.05)),
    ("large gain, bits rise by 25%", 20.0, 0.0, 25.0, 0.1, ("NO-GO", "at least", 0.8)),
    ("large gain, bits rise by exactly the margin", 20.0, 0.0, 10.0, 0.1, ("GO", "at most", 0.05)),
    ("large gain, prompting reaches 96%", 20.0, 0.0, 0.0, 0.96, ("NO-GO", "at least", 0.95)),
    ("gain, but no more than the prompt's", 20.0, 0.0, 0.0, 0.5, ("GO", "at most", 0.05)),
)
# Small true gains of a base that solves 45%: points (None: any from -20 to 20), problems, what must hold, and whether
# the number that an open study names must settle its gain in 8 of 10. It cannot where the truth is a fraction of what
# the study could see: 1 point of the 12 that 150 problems show.
SMALL_BASE, WIDEST = 0.45, 20.0
SMALL = (
    (6.0, 150, ("INCONCLUSIVE", "at least", 0.5), True),
    (6.0, 1500, ("GO", "at least", 0.8), False),
    (None, 150, ("INCONCLUSIVE", "at least", 0.3), True),
    (1.0, 150, ("GO", "at most", 0.1), False),
)


def measure(studies: int = 1000, leaks: int = 40, seed: int = 0) -> dict:
    """Shares of verdicts for every scenario: rows `scenario, studies, GO, NO-GO, INCONCLUSIVE, rule, holds`."""
    rng = numpy.random.default_rng(seed)
    rows = []
    for name, gain, loss, rise, prompt, promise in SCENARIOS:
        rows.append(summary(name, [one_study(rng, gain, loss, rise, prompt) for _ in range(studies)], promise))
    rows.append(
        summary(
            "leak: half the benchmark is in the rows",
            [leaked_study(rng) for _ in range(leaks)],
            ("GO", "at most", 0.05),
        )
    )
    return {
        "problems": N,
        "gated_problems": KEPT,
        "base_rate": BASE,
        "correlation": CORRELATION,
        "seed": seed,
        "scenarios": rows,
        "small_gain": small_gains(rng, studies // 2),
    }


def summary(name: str, verdicts: list[str], promise: tuple) -> dict:
    """The row of one scenario. `holds` allows for the sampling error of the simulation itself (95%, Wilson)."""
    from tunebook.statistics.intervals import wilson

    word, side, rate = promise
    low, high = wilson(verdicts.count(word), len(verdicts))
    shares = {kind: verdicts.count(kind) / len(verdicts) for kind in ("GO", "NO-GO", "INCONCLUSIVE")}
    holds = low <= rate if side == "at most" else high >= rate
    return {"scenario": name, "studies": len(verdicts), **shares, "rule": f"{word} {side} {rate:.0%}", "holds": holds}


def small_gains(rng, studies: int) -> list[dict]:
    """Small true gains on small and large benchmarks: shares of verdicts, the problems that the open studies
    name as what would settle their gain (quartiles), the share of gains that are `settled` when each study is drawn
    again with as many (8 in 10 are promised), and the whole verdicts then, to which the other gates belong.
    """
    from tunebook.statistics.intervals import wilson

    rows = []
    for points, n, promise, is_promised in SMALL:
        gains = rng.uniform(-WIDEST, WIDEST, studies) if points is None else [points] * studies
        found = [small_study(rng, n, gain) for gain in gains]
        name = f"gains from -{WIDEST:g} to {WIDEST:g} points" if points is None else f"gain of {points:g} points"
        row = summary(f"{name}, {n} problems", [verdict for verdict, *_ in found], promise)
        open_ones = [(gain, needed) for gain, (_, needed, word) in zip(gains, found) if word == "INCONCLUSIVE"]
        named = [needed for _, needed in open_ones if needed]
        again = [small_study(rng, needed, gain) for gain, needed in open_ones if needed]
        row["named"] = [int(value) for value in numpy.quantile(named, [0.25, 0.5, 0.75])] if named else []
        row["open_with_a_number"] = len(named)
        words, settled = [verdict for verdict, *_ in again], sum(gain != "INCONCLUSIVE" for *_, gain in again)
        row["again"] = {kind: words.count(kind) / len(words) for kind in sorted(set(words))}
        row["settled"] = settled / max(1, len(again))
        if is_promised:
            row["promised"] = "settled at least 80%"
            row["holds"] = row["holds"] and wilson(settled, len(again))[1] >= 0.8
        rows.append(row)
    return rows


def small_study(rng, n: int, gain: float) -> tuple[str, int | None, str]:
    """The verdict of a study with n problems, the problems that would settle its gain (None: no number helps), and
    the verdict on the gain alone.
    """
    from tunebook.decision.gates import problems_needed

    base, after = pair(rng, n, SMALL_BASE, gain)
    found = decided(base, after, pair(rng, KEPT, 0.6, 0.0), rng.random(n) < 0.1)
    return found["verdict"], problems_needed(found["gains"][0]), found["gains"][0]["verdict"]


def one_study(rng, gain: float, loss: float, rise: float, prompt: float) -> str:
    """The verdict of one drawn study."""
    base, after = pair(rng, N, BASE, gain)
    kept = pair(rng, KEPT, 0.6, -loss)
    rung = rng.random(N) < prompt
    bits = {f"d{at}": float(value) for at, value in enumerate(rng.normal(1.0, 0.2, 40).clip(0.3))}
    now = {name: value * (1 + rise / 100 + rng.normal(0, 0.03)) for name, value in bits.items()}
    return verdict_of(base, after, kept, rung, bits, now)


def pair(rng, n: int, base: float, gain: float):
    """Right answers of two models on n problems with the usual correlation."""
    from tunebook.statistics.power import discordant

    up, down = discordant(base, gain / 100, CORRELATION)
    kind = rng.choice(4, size=n, p=[base - down, up, down, 1 - base - up])  # both, gained, lost, neither
    return (kind == 0) | (kind == 2), (kind == 0) | (kind == 1)


def verdict_of(*drawn, failed: dict | None = None) -> str:
    """The word alone of `decided`."""
    return decided(*drawn, failed=failed)["verdict"]


def decided(base, after, kept, rung, bits=None, now=None, failed: dict | None = None) -> dict:
    """`decide` on drawn right answers: base and after on the task, a pair on the gated benchmark, a few-shot rung."""
    from tunebook.decision.gather import Evidence
    from tunebook.decision.verdict import decide
    from tunebook.statistics.intervals import wilson

    scores = {
        "base": {"task": scores_of(base), "kept": scores_of(kept[0])},
        "sft": {"task": scores_of(after), "kept": scores_of(kept[1])},
    }
    k, n = int(rung.sum()), len(rung)
    meets = 100 * wilson(k, n)[0] >= SPEC["target_score"]
    found = {
        "rung": "few_shot",
        "k": k,
        "n": n,
        "meets_spec": meets,
        "rule": "at least 90 points",
        "scores": scores_of(rung),
    }
    spec = SPEC if bits else SPEC | {"gated": ["kept"]}
    evidence = Evidence(scores, "task", spec, [found], failed or {}, {}, {"base": bits, "sft": now} if bits else {})
    return decide(evidence, "sft")


def scores_of(passed):
    """Scores in memory, one sample a problem."""
    from tunebook.evaluation.score_folder import Scores

    found = {str(at): [bool(value)] for at, value in enumerate(passed)}
    return Scores("drawn", found, {"benchmark_sha256": "drawn"}, {})


def leaked_study(rng) -> str:
    """Half the benchmark stands in the training rows, as it is or reworded in case and punctuation. Rows that 01
    lets through are learned by heart; every other problem shows no effect.
    """
    from tunebook.data.splits import prompt_key
    from tunebook.data.study_data import load_study_data

    n = 120
    texts = [
        f"Which town has {rng.integers(10**6, 10**7)} lamps and {rng.integers(100, 999)} bridges in {word}?"
        for word in rng.integers(1000, 9999, 3 * n)
    ]
    problems = [_problem(at, text) for at, text in enumerate(texts[:n])]
    leaked = [text if at % 2 else text.upper().replace("?", " ?") for at, text in enumerate(texts[: n // 2])]
    rows = [{"prompt": text, "completion": "Ulm"} for text in leaked + texts[n:]]
    with tempfile.TemporaryDirectory() as name:
        files = {part: Path(name) / f"{part}.jsonl" for part in ("rows", "benchmark")}
        for part, content in (("rows", rows), ("benchmark", problems)):
            files[part].write_text("".join(json.dumps(row) + "\n" for row in content))
        data = load_study_data("", str(files["rows"]), str(files["benchmark"]))
    kept = {prompt_key(row) for row in data.train + data.dev}
    base, after = pair(rng, n, BASE, 0.0)
    known = numpy.array([prompt_key({"prompt": [{"role": "user", "content": text}]}) in kept for text in texts[:n]])
    failed = {"01_validate_data": "failed its gate"} if any(item.severity == "error" for item in data.findings) else {}
    return verdict_of(base, after | known, pair(rng, n, 0.6, 0.0), rng.random(n) < 0.1, failed=failed)


def _problem(at: int, text: str) -> dict:
    test = "def check(answer):\n    assert answer == 'Ulm'\n"
    return {
        "task_id": f"t/{at}",
        "prompt": text,
        "entry_point": "check",
        "canonical_solution": "Ulm",
        "test": test,
        "kind": "answer",
    }
