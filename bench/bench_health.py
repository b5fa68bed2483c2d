"""How often the health rules accuse a training: healthy ones of other seeds, methods, rates and batches, and one of
each sickness, all of tiny models that really train.

A healthy one must end without a word; a sick one must be stopped under its own name. `step` is where it was named.
"""

import random
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent
HEALTHY, STEPS, READ_STEPS = 20, 100, 80
WORDS = ("red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "silver")
THINGS = ("car", "tree", "door", "cup", "road", "lamp", "shoe", "fish", "cloud", "book", "chair", "horse")
# what makes each training sick, beside what all have
SICK = {
    "diverging": {
        "method": "full",
        "learning_rate": 1.0,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 100,
    },
    "flat": {"learning_rate": 1e-9},
    "mask hides the answer": {"labels": "hidden"},
    "overfitting": {"n_rows": 8, "learning_rate": 2e-2, "answers": "at random", "max_steps": 240},
    "forgetting faster than learning": {"learning_rate": 3e-2, "rise": 10.0, "documents": 4, "knows": True},
}


def measure() -> dict:
    sys.path[:0] = [str(ROOT / "tests")]
    healthy = []
    for seed in range(HEALTHY):
        rng = random.Random(seed)
        kind = {"learning_rate": rng.choice([2e-3, 5e-3, 1e-2]), "method": rng.choice(["lora", "rslora", "dora"])}
        kind |= {"size": rng.choice([2, 4, 8]), "lr_scheduler_type": rng.choice(["cosine", "linear", "constant"])}
        healthy.append({"seed": seed, **kind, **_train(seed, **kind)})
        print(healthy[-1], flush=True)
    sick = {name: _train(1, **kind) for name, kind in SICK.items()}
    print(sick, flush=True)
    accused = [row for row in healthy if row["verdict"] != "healthy"]
    named = sum(row["verdict"].startswith(name) for name, row in sick.items())
    return {"healthy": HEALTHY, "accused": len(accused), "sick": len(SICK), "named": named, "sicknesses": sick} | {
        "trainings": healthy
    }


def _rows(seed: int, n: int, answers: str) -> list[dict]:
    """Pairs of a colour and a thing; the answer names them the other way round, or has nothing to do with them."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        colour, thing = rng.choice(WORDS), rng.choice(THINGS)
        answer = f"{thing} {colour}" if answers == "by rule" else " ".join(rng.sample(WORDS + THINGS, 2))
        rows.append({"prompt": [{"role": "user", "content": f"{colour} {thing}"}]})
        rows[-1]["completion"] = [{"role": "assistant", "content": answer}]
    return rows


def _hidden(row: dict) -> dict:
    return row | {"labels": [-100] * (len(row["labels"]) - 1) + row["labels"][-1:]}


def _read_general_text(model, tokenizer, documents: int) -> None:
    """Trains all weights on the general text that is watched, so that there is something to forget."""
    import torch

    from tunebook.evaluation.forgetting import general_texts

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    ids = [torch.tensor([tokenizer(text)["input_ids"][:512]]) for text in general_texts(documents).values()]
    for step in range(READ_STEPS):
        model(input_ids=ids[step % len(ids)], labels=ids[step % len(ids)]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _train(
    seed, method="lora", size=4, labels="", n_rows=400, answers="by rule", rise=1e9, documents=1, knows=False, **changes
):
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    import tiny_training
    from tiny_models import tiny_llama, tokenizer
    from tunebook.training.dataset import tokenised
    from tunebook.training.settings import Report
    from tunebook.training.short_forward import use_compact_head
    from tunebook.training.watch import Watch, Watching

    torch.manual_seed(seed)
    spoken, dev = tokenizer(), _rows(-seed - 1, 16, answers)
    rows = tokenised(_rows(seed, n_rows, answers), spoken, 64)
    held = tokenised(dev, spoken, 64)
    if labels:  # nothing but the end of the turn is trained
        rows, held = (Dataset.from_list([_hidden(row) for row in part]) for part in (rows, held))
    model = tiny_llama(seed)
    if knows:
        _read_general_text(model, spoken, documents)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"max_length": None, "max_steps": STEPS, "per_device_train_batch_size": size, "seed": seed}
        report = Report(SimpleNamespace(progress=lambda *args: None))
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**tiny_training.settings(folder, **settings | changes)),
            train_dataset=rows,
            eval_dataset=held,
            processing_class=spoken,
            peft_config=tiny_training.lora(method),
            callbacks=[report],
        )
        use_compact_head(trainer)
        watch = Watch(trainer, dev, spoken, Watching(6, documents, 4, rise, seed))
        trainer.train()
    losses = [row["loss"] for row in report.rows] or [float("nan")]
    first, last = (round(sum(part) / len(part), 3) for part in (losses[:10], losses[-10:]))
    return {"verdict": watch.verdict(), "step": trainer.state.global_step, "first_loss": first, "last_loss": last}
