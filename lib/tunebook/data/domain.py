"""Do the training prompts look like the benchmark's? A classifier tries to tell them apart, and the words that differ say why.

Says nothing about difficulty. Looks at a seeded sample of the rows.
"""

import hashlib

from tunebook.data.examples import Examples
from tunebook.data.splits import normalise
from tunebook.statistics.domains import separate

MIN_PROMPTS = 30  # different ones on each side: fewer give no useful interval
N_WORDS = 6


def find_domain_gap(examples: Examples, problems: list[dict], name: str) -> dict:
    """Note how well the prompts are told apart (`domain`, info), and a `domain_gap` where nearly always.

    Returns {benchmark, auc, low, high, n_rows, n_problems, row_words, benchmark_words}, or {} for fewer than 30 prompts.
    """
    ours = _sample({normalise(prompt) for _, prompt, _ in examples.texts()} - {""}, examples.limits.sampled)
    theirs = _sample({normalise(problem["prompt"]) for problem in problems}, examples.limits.sampled)
    if min(len(ours), len(theirs)) < MIN_PROMPTS:
        return {}
    found = separate(ours, theirs)
    auc, (low, high) = found["auc"], found["interval"]
    rows, benchmark = (
        [w["word"] for w in found["words"] if (w["share_a"] > w["share_b"]) == more] for more in (True, False)
    )
    rows, benchmark = rows[:N_WORDS], benchmark[:N_WORDS]
    detail = f"AUC {auc:.2f} [{low:.2f}, {high:.2f}], {len(ours)} prompts against {len(theirs)} of {name}; "
    detail += f"words of the rows: {', '.join(rows) or 'none'}; of the benchmark: {', '.join(benchmark) or 'none'}"
    examples.notes.add("domain_gap" if low > examples.limits.domain_auc else "domain", detail=detail)
    sizes = {"n_rows": len(ours), "n_problems": len(theirs)}
    bounds = {"auc": round(auc, 3), "low": round(low, 3), "high": round(high, 3)}
    return {"benchmark": name, **bounds, **sizes, "row_words": rows, "benchmark_words": benchmark}


def _sample(texts: set[str], n: int, seed: int = 0) -> list[str]:
    """At most `n` texts, chosen and ordered by hash."""
    return sorted(texts, key=lambda text: hashlib.sha256(f"{seed}\n{text}".encode()).digest())[:n]
