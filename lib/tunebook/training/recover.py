"""Leads an adapter back to its base where the task is not asked: on-policy distillation, or replay.

TRL's DistillationTrainer is not used: it wants the teacher as a second whole model, takes no rows of the task beside
the prompts, and off CUDA samples in lock-step and projects every position. Here the teacher is the student with its
adapter off. Source: Agarwal et al. 2024, On-policy distillation of language models; Huang et al. 2024 for replay.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch
from transformers import Trainer

from tunebook.errors import InputProblem
from tunebook.files import hash_json, read_json, write_json
from tunebook.models.engine import Decoding
from tunebook.models.generate import generate
from tunebook.models.lean_layers import is_lean
from tunebook.models.loading import BaseModel
from tunebook.models.source import ADAPTER, resolve_model
from tunebook.models.templates import ends_of, render_prompt
from tunebook.pipeline.stages import ADAPTERS
from tunebook.training.dataset import IGNORED
from tunebook.training.short_forward import is_special

WEIGHTS = "adapter_model.safetensors"


def adapter_to_recover(
    place: str, models: list[str], context, base: tuple[str, str], name: str = "recover_from"
) -> Path:
    """The folder of the adapter of one of the run's own `models`, or of a foreign one at the path `place`, whose base
    is the study's `base` (model, revision). InputProblem, which names the parameter `name`, where there is none, or it
    does not fit.
    """
    if place in models:
        folder = context.need(ADAPTERS[place]).folder("adapter")
        if not (folder / ADAPTER).is_file():
            raise InputProblem(f"{name}: {ADAPTERS[place]} trained all weights (method: full), there is no adapter")
        return folder
    if not (Path(place) / ADAPTER).is_file():
        raise InputProblem(
            f"{name}: {place!r} is neither {' nor '.join(models)} nor the folder of a PEFT adapter; correct it"
        )
    found = resolve_model(place, adapter_base=base[0], adapter_base_revision=base[1])
    context.external(place, "", found.sha256)
    return found.adapter


def scaled(adapter: Path, scale: float, folder: Path) -> Path:
    """Writes into `folder` the LoRA of `adapter` whose update is `scale` times as large: 0 is base, 1 the adapter.

    InputProblem for an adapter with weights that do not scale: whole modules, biases, DoRA's magnitudes.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / WEIGHTS)
    odd = next((name for name in weights if "lora_" not in name or "magnitude" in name), None)
    if odd:
        raise InputProblem(
            f"adapter: {adapter} has {odd}, which no scale makes smaller: set recover_scales to [], start_scale to 1"
        )
    copy_adapter(adapter, folder)
    smaller = {
        name: part * scale if "lora_B" in name or "embedding_B" in name else part for name, part in weights.items()
    }
    save_file(smaller, folder / WEIGHTS)
    return folder


def copy_adapter(adapter: Path, folder: Path) -> None:
    """The two files that are an adapter; a foreign folder may hold much else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ADAPTER, WEIGHTS):
        shutil.copyfile(adapter / name, folder / name)


def base_answers(
    base: BaseModel, prompts: list[dict], tokens: int, seed: int, context
) -> tuple[list[list[int]], float]:
    """What base answers to each prompt (a row's `prompt`) at temperature 1, at most `tokens` token ids with the one
    that closes the turn; and the seconds that took. A stage that was killed finds them again.
    """
    ends_of(base.tokenizer)
    end = base.tokenizer.turn_end
    asked = [render_prompt(base.tokenizer, row["prompt"]) for row in prompts]
    place = context.resume_folder / "base_answers.json"
    key = hash_json([asked, tokens, seed, base.source.sha256, str(base.placement)])
    if place.is_file() and (found := read_json(place))["key"] == key:
        return found["answers"], found["seconds"]
    started, texts = time.perf_counter(), [[] for _ in asked]
    with base.engine() as engine:
        for at, done in enumerate(engine.generate(asked, Decoding(tokens, temperature=1.0, seed=seed))):
            texts[done.index] = done.ids + ([end] if done.finish_reason == "stop" and end is not None else [])
            context.progress(at + 1, len(asked), "answers of base's own")
    seconds = time.perf_counter() - started
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, {"key": key, "answers": texts, "seconds": seconds})
    return texts, seconds


def recovery_dataset(tokenizer, prompts: list[dict], rows, answers: list[list[int]], steps: int, per_step: tuple):
    """A `datasets.Dataset` of one row a step: token ids of the `prompts`, the `answers` to them ([] where the student
    answers itself), and the task's `rows` with their `labels`. `per_step`: prompts and rows a step; both go round.
    """
    from datasets import Dataset

    asked = [render_prompt(tokenizer, row["prompt"]) for row in prompts]
    n_prompts, n_rows = per_step
    made = []
    for step in range(steps):
        at = [(step * n_prompts + place) % len(asked) for place in range(n_prompts)]
        task = [rows[(step * n_rows + place) % len(rows)] for place in range(n_rows)]
        row = {"prompts": [asked[place] for place in at], "answers": [answers[place] for place in at if answers]}
        made.append(row | {"rows": [one["input_ids"] for one in task], "labels": [one["labels"] for one in task]})
    return Dataset.from_list(made)


class RecoveryTrainer(Trainer):
    """Trains the PeftModel `model` on `recovery_dataset`, one of its rows a step.

    The loss is that of the task's rows (nats a trained token) plus, on general prompts, KL(student || base) over the
    whole vocabulary on the student's own samples of `tokens` tokens; with answers in the dataset, plus their negative
    log-likelihood. Dropout is off. Both parts stand in the log: `task_loss`, `general_loss`.
    """

    def __init__(self, model, args, train_dataset, tokenizer, tokens: int, **kwargs):
        super().__init__(
            model=model, args=args, train_dataset=train_dataset, data_collator=lambda rows: rows[0], **kwargs
        )
        self.ends, self.tokens, self._parts = set(ends_of(tokenizer)), tokens, {}
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The sum of both parts."""
        student = self.accelerator.unwrap_model(model).eval()
        own = None if inputs["answers"] else self._sampled(student, inputs["prompts"])
        general = (
            self._divergence(student, inputs["prompts"], own)
            if own
            else self._surprise(student, *_labelled(inputs["prompts"], inputs["answers"]))
        )
        task = self._surprise(student, inputs["rows"], inputs["labels"])
        self._parts = {"general_loss": float(general.detach()), "task_loss": float(task.detach())}
        return general + task

    def log(self, logs, *args, **kwargs):
        """The loss with its two parts."""
        super().log(logs | (self._parts if "loss" in logs else {}), *args, **kwargs)

    def _sampled(self, student, prompts: list[list[int]]) -> list[list[int]]:
        decoding = Decoding(self.tokens, temperature=1.0, seed=self.args.seed * 1_000_003 + self.state.global_step)
        answers: list[list[int]] = [[]] * len(prompts)
        for done in generate(student.get_base_model(), prompts, self.ends, decoding, len(prompts)):
            answers[done.index] = done.ids
        return answers

    def _divergence(self, student, prompts: list[list[int]], answers: list[list[int]]) -> torch.Tensor:
        """KL(student || base) in nats a token, at each token of the answers and at the one after them."""
        whole = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        places = [range(len(prompt) - 1, len(ids)) for prompt, ids in zip(prompts, whole, strict=True)]
        ours = predicted(student, whole, places).log_softmax(-1)
        with torch.no_grad(), student.disable_adapter():
            theirs = predicted(student, whole, places).log_softmax(-1)
        return (ours.exp() * (ours - theirs)).sum(-1).mean()

    def _surprise(self, student, ids: list[list[int]], labels: list[list[int]]) -> torch.Tensor:
        """Negative log-likelihood in nats a labelled token."""
        places = [[at - 1 for at, label in enumerate(row) if at and label != IGNORED] for row in labels]
        wanted = [row[at + 1] for row, part in zip(labels, places, strict=True) for at in part]
        logits = predicted(student, ids, places)
        return torch.nn.functional.cross_entropy(logits, torch.tensor(wanted, device=logits.device))


def _labelled(prompts: list[list[int]], answers: list[list[int]]) -> tuple[list, list]:
    pairs = list(zip(prompts, answers, strict=True))
    return [p + a for p, a in pairs], [[IGNORED] * len(p) + a for p, a in pairs]


def predicted(student, rows: list[list[int]], places) -> torch.Tensor:
    """Logits (places, vocabulary) in float32 of a PeftModel after the tokens at `places` of each row, in order; only
    those are projected where the model has a plain head. Lean layers get the rows side by side, others padded.
    """
    model = student.get_base_model()
    width = max(map(len, rows))
    seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    asked = {"input_ids": torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)}
    which = torch.tensor([at for at, part in enumerate(places) for _ in part], device=model.device)
    where = torch.tensor([place for part in places for place in part], device=model.device)
    if is_lean(model):
        order = seen.flatten().cumsum(0).view(seen.shape) - 1  # each token's place among all
        asked = {"input_ids": asked["input_ids"][seen > 0][None], "position_ids": (seen.cumsum(1) - 1)[seen > 0][None]}
        which, where = torch.zeros_like(which), order[which, where]
    else:
        asked["attention_mask"] = seen
    if is_special(model.config.get_text_config()):
        return model(**asked, use_cache=False).logits[which, where].float()
    hidden = model.base_model(**asked, use_cache=False).last_hidden_state
    return model.get_output_embeddings()(hidden[which, where]).float()
