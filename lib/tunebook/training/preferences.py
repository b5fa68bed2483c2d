"""What is preferred to what: the user's own pairs and labels, or a model's own answers and a checker; and how each
method is set.

And whether held-out pairs are then ranked as they should be. Does not sample answers (`sampling`) and does not build a
trainer: the notebook does.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tunebook.errors import InputProblem, did_you_mean
from tunebook.models.templates import encode_row

SOURCES = ("auto", "own", "sampled", "both")
HELD_OUT_SHARE, MOST_HELD_OUT = 0.1, 100


@dataclass(frozen=True)
class Method:
    """How a preference method is set. `beta` weighs the distance to the reference per nat (IPO: per nat a token)."""

    name: str
    loss: tuple[str, ...] = ()
    weights: tuple[float, ...] = (1.0,)
    beta: float = 0.1
    learning_rate: float = 5.0e-5
    is_paired: bool = True
    why: str = ""

    def settings(self, rows: Sequence[dict] = ()) -> dict:
        """The arguments of DPOConfig or KTOConfig that differ from method to method; KTO's weights follow from the
        labels of `rows`.
        """
        told = {"beta": self.beta, "learning_rate": self.learning_rate}
        if not self.is_paired:
            return told | {"loss_type": self.loss[0]} | (label_weights(rows) if rows else {})
        return told | {
            "loss_type": list(self.loss),
            "loss_weights": list(self.weights) if len(self.weights) > 1 else None,
        }


METHODS = {
    "dpo": Method(
        "dpo",
        ("sigmoid",),
        why="Rafailov et al. 2023: a twentieth of SFT's rate, since the policy must stay near its reference",
    ),
    "ipo": Method(
        "ipo", ("ipo",), beta=0.5,
        why="Azar et al. 2023; TRL divides by the answer's tokens, so beta 0.5 asks for 1 nat a token "
        "between the two, 0.1 for 5",
    ),
    "rpo": Method(
        "rpo", ("sigmoid", "sft"), (1.0, 1.0),
        why="Pang et al. 2024: DPO with the likelihood of the chosen answer beside it at weight 1, so that it "
        "does not fall with the other",
    ),
    "none": Method("none", ("sigmoid",), why="the adapter of 02 goes on unchanged"),
    "kto": Method(
        "kto", ("kto",), is_paired=False,
        why="Ethayarajh et al. 2024: every labelled answer counts alone, and both labels weigh the same in sum",
    ),
}  # fmt: skip


FULL_SHARE = 0.1  # of an adapter's rate, where all weights are trained


def choose_method(name: str, beta: float = 0.0, learning_rate: float = 0.0, is_full: bool = False) -> Method:
    """The method called `name` with its own defaults where `beta` or `learning_rate` is 0 (a tenth of the rate where
    all weights are trained); "none" trains no rows.

    >>> choose_method("ipo").beta, choose_method("dpo", beta=0.3).beta
    (0.5, 0.3)
    """
    if name not in METHODS:
        remedy = did_you_mean(name, METHODS, f"choose one of {', '.join(METHODS)}")
        raise InputProblem(f"preference: {name!r} is unknown; {remedy}")
    own = METHODS[name]
    rate = learning_rate or own.learning_rate * (FULL_SHARE if is_full else 1)
    return replace(own, beta=beta or own.beta, learning_rate=rate)


@dataclass
class Preferences:
    """Rows of TRL's types, conversational: `pairs` with prompt, chosen, rejected; `labels` with prompt, completion,
    label.
    """

    pairs: list[dict] = field(default_factory=list)
    labels: list[dict] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pairs) + len(self.labels)

    def __add__(self, other: Preferences) -> Preferences:
        return Preferences(self.pairs + other.pairs, self.labels + other.labels)

    def describe(self) -> str:
        """What there is, in a few words."""
        good = sum(row["label"] for row in self.labels)
        named = [f"{len(self.pairs)} pairs"] if self.pairs else []
        named += [f"{good} answers labelled right and {len(self.labels) - good} labelled wrong"] if self.labels else []
        return " and ".join(named) or "no preferences"


def own_preferences(rows: Sequence[dict]) -> Preferences:
    """The preferences that canonical rows hold: pairs where there is `rejected`, labelled answers where there is
    `label`.
    """
    pairs = [
        {key: row[key] for key in ("prompt", "chosen", "rejected", "tools") if key in row}
        for row in rows
        if "rejected" in row
    ]
    labels = [
        {key: row[key] for key in ("prompt", "completion", "label", "tools") if key in row}
        for row in rows
        if isinstance(row.get("label"), bool) and row["prompt"]
    ]
    return Preferences(pairs, labels)


def hold_out(own: Preferences, dev: Sequence[dict], seed: int) -> tuple[Preferences, Preferences]:
    """(rows to train, rows held out): those of `dev`, and where it has none a tenth, by prompt, that training then
    does not see.
    """
    kept = own_preferences(dev)
    if len(kept) or not len(own):
        return own, Preferences(kept.pairs[:MOST_HELD_OUT], kept.labels[:MOST_HELD_OUT])
    prompts = sorted({str(row["prompt"]) for row in own.pairs + own.labels})
    n = min(MOST_HELD_OUT, round(HELD_OUT_SHARE * len(prompts)))
    out = set(random.Random(seed).sample(prompts, n))

    def part(is_out: bool) -> Preferences:
        return Preferences(
            *([row for row in rows if (str(row["prompt"]) in out) == is_out] for rows in (own.pairs, own.labels))
        )

    return part(False), part(True)


def wants_samples(method: Method, source: str, own: Preferences) -> bool:
    """Whether the model must answer prompts: `auto` takes the user's own preferences where there are some, else
    samples.
    """
    if source not in SOURCES:
        raise InputProblem(f"preference_source: {source!r} is unknown; choose one of {', '.join(SOURCES)}")
    if method.name == "none":
        return False
    if source == "own" and not len(own):
        raise InputProblem(
            "preference_source: own, but the rows have neither `rejected` nor `label`; use sampled, or give such rows"
        )
    return source in ("sampled", "both") or (source == "auto" and not len(own))


def sampled_preferences(rows: Sequence[dict], samples: Sequence[Sequence[str]], is_right: Callable) -> Preferences:
    """What a checker says of a model's own answers: `samples[i]` are its answers to `rows[i]`, `is_right(row, text)`
    judges one.

    Every answer becomes a labelled one. A row gives one pair when it has both kinds: its most frequent right answer
    against its most frequent wrong one, ties broken by order.
    """
    found = Preferences()
    for row, texts in zip(rows, samples, strict=True):
        verdicts = {text: bool(is_right(row, text)) for text in dict.fromkeys(texts)}
        counts = [Counter(text for text in texts if verdicts[text] is wanted) for wanted in (True, False)]
        if all(counts):
            chosen, rejected = (_answer(count.most_common(1)[0][0]) for count in counts)
            found.pairs.append(_asked(row) | {"chosen": chosen, "rejected": rejected})
        found.labels += [_asked(row) | {"completion": _answer(text), "label": verdicts[text]} for text in texts]
    return found


def _asked(row: dict) -> dict:
    """What is asked: the prompt, and the tools that the template writes into it."""
    return {key: row[key] for key in ("prompt", "tools") if key in row}


def _answer(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def rows_for(method: Method, own: Preferences, sampled: Preferences, batch_size: int, seed: int) -> list[dict]:
    """The rows that `method` trains, shuffled. Raises InputProblem where the user's rows cannot be used with it.

    KTO takes the user's labels and the two sides of their pairs, and every sampled answer; the others take pairs, and
    make them of labels where a prompt has both. KTO compares an answer with its neighbour's in the batch, so rows lie
    in no order and no batch has one row.
    """
    if method.name == "none":
        return []
    if method.is_paired:
        rows = own.pairs + _paired(own.labels) + sampled.pairs
        if own.labels and not rows:
            raise InputProblem(
                f"preference: {method.name} needs pairs, but these rows are labelled answers and no prompt has both a"
                " right and a wrong one; use preference: kto"
            )
    else:
        if batch_size < 2:
            raise InputProblem(
                "dpo_batch_size: kto compares an answer with its neighbours in the batch; use 2 or more, 8 is usual"
            )
        sides = [(pair, key) for pair in own.pairs for key in ("chosen", "rejected")]
        rows = (
            own.labels
            + [_asked(pair) | {"completion": pair[key], "label": key == "chosen"} for pair, key in sides]
            + sampled.labels
        )
    rows = random.Random(seed).sample(rows, len(rows))
    return rows[:-1] if not method.is_paired and len(rows) % batch_size == 1 else rows


def _paired(labels: Sequence[dict]) -> list[dict]:
    """A pair of each prompt that has a right and a wrong answer: the first of each."""
    by_prompt: dict[str, dict[bool, dict]] = {}
    for row in labels:
        by_prompt.setdefault(str(_asked(row)), {}).setdefault(row["label"], row)
    both = [kinds for kinds in by_prompt.values() if len(kinds) == 2]
    return [_asked(k[True]) | {"chosen": k[True]["completion"], "rejected": k[False]["completion"]} for k in both]


def label_weights(rows: Sequence[dict]) -> dict[str, float]:
    """Arguments for KTOConfig by which the rarer label weighs as much in sum as the other. Source: the KTO paper,
    equation 8.

    >>> label_weights([{"label": True}] * 9 + [{"label": False}])
    {'desirable_weight': 1.0, 'undesirable_weight': 9.0}
    """
    good = sum(row["label"] for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        raise InputProblem(
            f"preference: kto needs answers of both labels, found {good} right and {bad} wrong; use preference: none"
        )
    return {"desirable_weight": max(1.0, round(bad / good, 3)), "undesirable_weight": max(1.0, round(good / bad, 3))}


def rank_pairs(model, tokenizer, pairs: Sequence[dict], max_length: int) -> list[tuple[float, float]]:
    """Log-probability of the chosen and of the rejected answer of each pair, in nats, summed over the answer's
    tokens.
    """
    was_training = model.training
    model.eval()
    found = [tuple(_logp(model, tokenizer, pair, key, max_length) for key in ("chosen", "rejected")) for pair in pairs]
    model.train(was_training)
    return found


def _logp(model, tokenizer, pair: dict, key: str, max_length: int) -> float:
    import torch

    ids, mask = encode_row(tokenizer, pair["prompt"], pair[key], pair.get("tools"))
    tokens = torch.tensor([ids[:max_length]], device=model.device)
    trained = torch.tensor(mask[1:max_length], dtype=torch.bool, device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1][trained].float()
    return float(-torch.nn.functional.cross_entropy(logits, tokens[0, 1:][trained], reduction="sum"))


def ranking(before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]) -> dict:
    """Of held-out pairs: `ranked_before` and `ranked_after`, how many chosen answers are likelier than the rejected;
    `accuracy`, the share whose chosen answer gained on the rejected one; `margin`, by how many nats on average.

    >>> ranking([(-5.0, -4.0), (-3.0, -9.0)], [(-4.0, -6.0), (-3.0, -8.5)])
    {'n': 2, 'ranked_before': 1, 'ranked_after': 2, 'accuracy': 0.5, 'margin': 1.25}
    """
    gains = [(a[0] - a[1]) - (b[0] - b[1]) for b, a in zip(before, after, strict=True)]
    if not gains:
        return {"n": 0}
    ranked = [sum(chosen > rejected for chosen, rejected in side) for side in (before, after)]
    shares = {"accuracy": sum(gain > 0 for gain in gains) / len(gains), "margin": round(sum(gains) / len(gains), 4)}
    return {"n": len(gains), "ranked_before": ranked[0], "ranked_after": ranked[1], **shares}
