"""The export tried before the training: base model, random adapter, merge, float16 GGUF, and every check of the real
one.

About half a minute for a model of 135M parameters. Does not quantise and does not score.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.export.convert import export_files
from tunebook.export.merge import IN_FLOAT32
from tunebook.export.parity import HeldOutRows, export_checks, log_probabilities
from tunebook.models.abilities import lora_targets
from tunebook.models.gguf_engine import GgufModel
from tunebook.models.loading import free_memory, load_model, one_sentence
from tunebook.models.templates import ANSWER, encode_row

TRIED = 8  # conversations on which distributions are compared
RULE = "a random adapter on the base model becomes a GGUF file that is the same model"
# of the adapter's weights against LoRA's usual: enough to be told from the base, too little to make the model another
SCALE = 0.4


def rehearse_export(source, tokenizer, conversations: list, seed: int, scratch: Path) -> list[dict]:
    """Checks with `name, measured, rule, ok`: those of `export_checks` with the prefix `export_`, or one,
    `export_rehearsal`, with the sentence for which the export cannot be. `conversations` are prompts as the study asks
    them; nothing stays in `scratch`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".rehearsal-") as place:
            rows = _rehearse(source, tokenizer, conversations, seed, Path(place))
    except InputProblem as problem:
        return [{"name": "export_rehearsal", "measured": str(problem), "rule": RULE, "ok": False}]
    return [{**row, "name": f"export_{row['name']}"} for row in rows]


def _rehearse(source, tokenizer, conversations: list, seed: int, place: Path) -> list[dict]:
    answer = [{"role": "assistant", "content": ANSWER}]
    asked = [turns for turns in conversations if isinstance(turns, list)] or [[{"role": "user", "content": "Hello"}]]
    encoded = [encode_row(tokenizer, turns, answer) for turns in asked[:TRIED]]
    rows = HeldOutRows([ids for ids, _ in encoded], [len(ids) - sum(mask) - 1 for ids, mask in encoded])
    base = load_model(source, IN_FLOAT32)
    before = log_probabilities(base, rows)
    with one_sentence(f"model: {source.name} takes no adapter", "use a model of another family"):
        save_random_adapter(base, place / "adapter", source.name, seed)
    del base
    free_memory()
    files = export_files(source, place / "adapter", tokenizer, place, ["f16"])
    trained = load_model(source, IN_FLOAT32, place / "adapter")
    expected = log_probabilities(trained, rows)
    del trained
    free_memory()
    engine = GgufModel(files["f16"], 1)
    try:
        return export_checks(tokenizer, engine, asked[:TRIED], seed, rows, expected, before)
    finally:
        engine.close()


def save_random_adapter(base, folder: Path, name: str, seed: int, scale: float = SCALE) -> None:
    """A LoRA adapter of random weights on the layers that a training would change; `base` is changed, and no use
    afterwards.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    targets = lora_targets(base)
    lora = LoraConfig(r=4, lora_alpha=4 * scale, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(base, lora)
    adapted.peft_config["default"].base_model_name_or_path = name
    adapted.save_pretrained(folder, save_embedding_layers=False)
