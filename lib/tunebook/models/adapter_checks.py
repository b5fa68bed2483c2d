"""Whether the tensors of a PEFT LoRA adapter belong together and fit a base model, by shapes alone.

Does not load or merge anything.
"""

from __future__ import annotations

from tunebook.models.adapter_config import FIX, config_findings
from tunebook.models.gguf_checks import finding

PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def pairs(shapes: dict[str, list[int]]) -> dict[str, dict[str, list[int]]]:
    """module path -> {"A": shape (rank, in), "B": shape (out, rank)}; other tensors are left out."""
    found: dict[str, dict] = {}
    for name, shape in shapes.items():
        for side, suffix in (("A", A), ("B", B)):
            if name.endswith(suffix):
                found.setdefault(name.removeprefix(PREFIX).removesuffix(suffix), {})[side] = shape
    return found


def adapter_findings(config: dict, shapes: dict[str, list[int]]) -> list[dict]:
    """Objections to an adapter by itself."""
    fix, found, rank = FIX, config_findings(config), config.get("r")
    modules = pairs(shapes)
    if not isinstance(config.get("base_model_name_or_path"), str) or not config["base_model_name_or_path"]:
        found.append(finding("adapter", "error", "adapter_config.json does not name its base model", fix))
    if odd := _without_prefix(shapes):
        found.append(finding("adapter", "error", odd, fix))
    if shapes and not any("lora_" in name for name in shapes):
        found.append(finding("adapter", "error", "it holds no LoRA weights (lora_A, lora_B)", fix))
    for module, pair in modules.items():
        sides = [pair.get("A"), pair.get("B")]
        if None in sides:
            found.append(finding("adapter", "error", f"{module} has only one of lora_A and lora_B", fix))
        elif any(len(side) != 2 for side in sides) or sides[0][0] != sides[1][1]:
            found.append(finding("adapter", "error", f"{module}: lora_A is {sides[0]}, lora_B is {sides[1]}", fix))
        elif not config.get("rank_pattern") and isinstance(rank, int) and sides[0][0] != rank:
            found.append(finding("adapter", "error", f"{module} has rank {sides[0][0]}, the config says {rank}", fix))
    found += [finding("adapter", "error", one, fix) for one in _claims(config, shapes)]
    return found[:20]


def _without_prefix(shapes: dict[str, list[int]]) -> str:
    name = next((name for name in shapes if ".lora_" in name and not name.startswith(PREFIX)), "")
    return f"its tensor {name!r} does not begin with {PREFIX!r}, so PEFT passes over it" if name else ""


def _claims(config: dict, shapes: dict[str, list[int]]) -> list[str]:
    """Where the config and the tensors disagree on what was trained."""
    changed = {name.partition(".lora_")[0].removeprefix(PREFIX) for name in shapes if ".lora_" in name}
    wanted, found = config.get("target_modules"), []
    if isinstance(wanted, list) and wanted and all(isinstance(one, str) for one in wanted):
        ends = tuple(f".{one}" for one in wanted)
        left = sorted(module for module in changed if not f".{module}".endswith(ends))
        if left and not config.get("target_parameters"):
            found.append(f"it holds weights for {left[0]}, which its target_modules do not name")
    if config.get("use_dora") is True and changed and not any("lora_magnitude_vector" in name for name in shapes):
        found.append("its config says use_dora, but it holds no magnitudes (lora_magnitude_vector)")
    return found


def why_unfit(config: dict, adapter: dict[str, list[int]], base: dict[str, list[int]]) -> str:
    """The first reason why an adapter does not fit a base model, as a clause, or ""."""
    if odd := _without_prefix(adapter):
        return odd
    for module, pair in pairs(adapter).items():
        name = f"{module}.weight"
        shape = base.get(name) or next((base[one] for one in base if one.endswith(f".{name}")), None)
        if module.endswith("lm_head") and shape is None:
            continue  # tied to the embedding
        if shape is None:
            return f"the adapter changes {module}, which the base model does not have"
        if "A" not in pair or "B" not in pair:
            return f"{module} has only one of lora_A and lora_B"
        if len(pair["A"]) != 2 or len(pair["B"]) != 2:
            return f"lora_A and lora_B of {module} are no matrices"
        wanted = [pair["B"][0], pair["A"][1]]
        if wanted != (shape[::-1] if config.get("fan_in_fan_out") else shape):
            return f"the adapter's {module} is for {wanted}, the base model's is {shape}"
    return ""
