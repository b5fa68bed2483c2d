"""What adapter_config.json may say: every value that PEFT would use, by type, so that loading it neither hangs nor
fails.

Does not look at the weights and loads nothing. The same checks serve `inspect` and the moment before an adapter is
loaded.
"""

import math
import re
import re._parser as sre
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.findings import Objections

LONGEST_PATTERN = 1000  # characters; Unsloth writes about 400
MOST_REPEATS, MOST_CHOICES = 5, 8  # in one pattern, which is tried on names of about 60 characters
MOST_PATTERNS = 10_000  # keys of rank_pattern
FIX = "save the adapter again with PEFT's save_pretrained"


def adapter_config_findings(config: dict) -> Objections:
    """One objection for each value of adapter_config.json that cannot be used."""
    found, rank = Objections(FIX, "adapter"), config.get("r")
    if config.get("peft_type") != "LORA":
        found.error(f"its peft_type is {_shown(config.get('peft_type'))}, only LORA is read")
    if not _is_count(rank):
        found.error(f"its rank r is {_shown(rank)}, expected a whole number above 0")
    if not _is_number(config.get("lora_alpha", 8)):
        found.error(f"its lora_alpha is {_shown(config.get('lora_alpha'))}, expected a number")
    if config.get("layer_replication"):
        found.error("it repeats layers of its base (layer_replication), which is not read")
    if config.get("alora_invocation_tokens"):
        found.error("it is an activated LoRA (alora_invocation_tokens): it acts from its invocation on, not merged")
    problems = {key: names_problem(config.get(key)) for key in ("target_modules", "exclude_modules", "layers_pattern")}
    problems |= {key: _patterns_problem(key, config.get(key)) for key in PATTERNS}
    for key, problem in problems.items():
        if problem:
            found.error(f"its {key} {problem}")
    for key, (fits, expected) in TYPES.items():
        if config.get(key) is not None and not fits(config[key]):
            found.error(f"its {key} is {_shown(config[key])}, expected {expected}")
    return found


def refuse_config(adapter: Path, config: dict) -> None:
    """Raises InputProblem with the first objection to the config of folder `adapter`."""
    for one in adapter_config_findings(config):
        raise InputProblem(f"adapter: {adapter}: {one['message']}; {one['fix']}")


def names_problem(value) -> str:
    """Why a choice of modules is none, as a clause, or "": null, a list of names, `all-linear`, or a harmless
    pattern.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return pattern_problem(value)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return f"is {_shown(value)}, expected a list of names or a text"
    return f"has a name of more than {LONGEST_PATTERN} characters" if max(map(len, value), default=0) > 1000 else ""


def pattern_problem(pattern: str, wrapped: int = 0) -> str:
    """Why a regular expression is not tried, as a clause, or ""; `wrapped` repeats are put round it later.

    A repeat within a repeat, or many repeats in a row, can take longer than the age of the universe on one name.
    """
    if len(pattern) > LONGEST_PATTERN:
        return f"is a pattern of {len(pattern)} characters, at most {LONGEST_PATTERN} are read"
    try:
        re.compile(pattern)
        repeats, choices = _cost(sre.parse(pattern))
    except (re.error, RecursionError, OverflowError, ValueError):
        return f"is no regular expression ({_shown(pattern)})"
    if repeats + wrapped > MOST_REPEATS or choices > MOST_CHOICES:
        return f"is a pattern that can take for ever ({_shown(pattern)}): it repeats a repeat, or has too many of them"
    return ""


def _cost(parsed) -> tuple[int, int]:
    """(variable repeats, choices) in a row; a variable repeat round either of them is more than any limit."""
    repeats = choices = 0
    for code, argument in parsed:
        if code in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            low, high, body = argument
            inner = _cost(body)
            if any(inner) and high > 1:
                inner = (inner[0] * high, inner[1] * high)  # (a+){2} is a+a+; with * it is without bound
            repeats, choices = repeats + inner[0] + (low != high), choices + inner[1]
        elif code is sre.BRANCH:
            costs = [_cost(one) for one in argument[1]]
            repeats += max(cost[0] for cost in costs)
            choices += 1 + max(cost[1] for cost in costs)
        else:
            inner = [_cost(one) for one in (argument if isinstance(argument, tuple) else [argument]) if _is_part(one)]
            repeats, choices = repeats + sum(one[0] for one in inner), choices + sum(one[1] for one in inner)
    return repeats, choices


def _is_part(value) -> bool:
    return isinstance(value, sre.SubPattern)


def _patterns_problem(key: str, value) -> str:
    if value is None:
        return ""
    if not isinstance(value, dict):
        return f"is {_shown(value)}, expected a map from names to numbers"
    if len(value) > MOST_PATTERNS:
        return f"has {len(value)} entries, at most {MOST_PATTERNS} are read"
    for name, number in value.items():
        if not PATTERNS[key](number):
            return f"gives {_shown(name)} the value {_shown(number)}, expected a number"
        if problem := pattern_problem(name, wrapped=2):
            return problem
    return ""


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_bool(value) -> bool:
    return isinstance(value, bool)


def _are_texts(value) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _are_indices(value) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**31 for one in values)


def _are_tokens(value) -> bool:
    lists = list(value.values()) if isinstance(value, dict) else [value]
    return all(isinstance(one, list) and _are_indices(one) for one in lists)


def _shown(value) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


PATTERNS = {"rank_pattern": _is_count, "alpha_pattern": _is_number}
TYPES = {
    "modules_to_save": (_are_texts, "a list of names"),
    "target_parameters": (_are_texts, "a list of names"),
    "layers_to_transform": (_are_indices, "whole numbers"),
    "trainable_token_indices": (_are_tokens, "lists of token ids"),
    "init_lora_weights": (lambda value: isinstance(value, (bool, str)), "true, false or a name"),
    "bias": (lambda value: value in ("none", "all", "lora_only"), "none, all or lora_only"),
    "use_rslora": (_is_bool, "true or false"),
    "use_dora": (_is_bool, "true or false"),
    "fan_in_fan_out": (_is_bool, "true or false"),
}


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
    found, rank = adapter_config_findings(config), config.get("r")
    if not isinstance(config.get("base_model_name_or_path"), str) or not config["base_model_name_or_path"]:
        found.error("adapter_config.json does not name its base model")
    if odd := _without_prefix(shapes):
        found.error(odd)
    if shapes and not any("lora_" in name for name in shapes):
        found.error("it holds no LoRA weights (lora_A, lora_B)")
    for module, pair in pairs(shapes).items():
        sides = [pair.get("A"), pair.get("B")]
        if None in sides:
            found.error(f"{module} has only one of lora_A and lora_B")
        elif any(len(side) != 2 for side in sides) or sides[0][0] != sides[1][1]:
            found.error(f"{module}: lora_A is {sides[0]}, lora_B is {sides[1]}")
        elif not config.get("rank_pattern") and isinstance(rank, int) and not _has_rank(module, sides[0][0], rank):
            found.error(f"{module} has rank {sides[0][0]}, the config says {rank}")
    _add_claims(config, shapes, found)
    return found[:20]


def _has_rank(module: str, found: int, rank: int) -> bool:
    """Whether a module's rank is the config's; of all experts of a layer PEFT stores the ranks one after the other."""
    return found == rank or ".experts" in module and rank > 0 and found % rank == 0


def _without_prefix(shapes: dict[str, list[int]]) -> str:
    name = next((name for name in shapes if ".lora_" in name and not name.startswith(PREFIX)), "")
    return f"its tensor {name!r} does not begin with {PREFIX!r}, so PEFT passes over it" if name else ""


def _add_claims(config: dict, shapes: dict[str, list[int]], found: Objections) -> None:
    """Where the config and the tensors disagree on what was trained."""
    changed = {name.partition(".lora_")[0].removeprefix(PREFIX) for name in shapes if ".lora_" in name}
    wanted = config.get("target_modules")
    if isinstance(wanted, list) and wanted and all(isinstance(one, str) for one in wanted):
        ends = tuple(f".{one}" for one in wanted)
        left = sorted(module for module in changed if not f".{module}".endswith(ends))
        if left and not config.get("target_parameters"):
            found.error(f"it holds weights for {left[0]}, which its target_modules do not name")
    if config.get("use_dora") is True and changed and not any("lora_magnitude_vector" in name for name in shapes):
        found.error("its config says use_dora, but it holds no magnitudes (lora_magnitude_vector)")


def why_unfit(config: dict, adapter: dict[str, list[int]], base: dict[str, list[int]]) -> str:
    """The first reason why an adapter does not fit a base model, as a clause, or ""."""
    if reason := _without_prefix(adapter) or _resized(adapter, base):
        return reason
    for module, pair in pairs(adapter).items():
        if "A" not in pair or "B" not in pair:
            return f"{module} has only one of lora_A and lora_B"
        if len(pair["A"]) != 2 or len(pair["B"]) != 2:
            return f"lora_A and lora_B of {module} are no matrices"
        if ".experts" in module:
            continue  # one weight an expert in the file, one for all of them in transformers
        wanted = [pair["B"][0], pair["A"][1]]
        wanted = wanted[::-1] if config.get("fan_in_fan_out") else wanted
        shapes = _shapes_of(module, base)
        if not shapes and module.endswith("lm_head"):
            continue  # tied to the embedding
        if not shapes:
            return f"the adapter changes {module}, which the base model does not have"
        if wanted not in shapes:
            return f"the adapter's {module} is for {wanted}, the base model's is {shapes[0]}"
    return ""


def _shapes_of(module: str, base: dict[str, list[int]]) -> list[list[int]]:
    """Shapes of the base's weights that may be this module's: transformers gives some models other names than their
    files.
    """
    layer = re.search(r"(layers|h|blocks)\.\d+\..+$", module)
    ends = [f"{module}.weight", *([f"{layer[0]}.weight"] if layer else [])]
    exact = [base[ends[0]]] if ends[0] in base else []
    return exact or [shape for name, shape in base.items() if any(f".{name}".endswith(f".{end}") for end in ends)]


def _resized(adapter: dict[str, list[int]], base: dict[str, list[int]]) -> str:
    """Whether the adapter brings a table of tokens of another length than the base's."""
    for name, shape in adapter.items():
        end = re.search(r"\b(embed_tokens|wte|embed_in|lm_head|embed_out)\.(modules_to_save\.)?weight$", name)
        theirs = _shapes_of(end[1], base) if end else []
        if theirs and theirs[0][0] != shape[0]:
            return (
                f"it brings {end[1]} with {shape[0]} tokens, the base model's has {theirs[0][0]}: resize the base"
                f" model's embedding to {shape[0]} (resize_token_embeddings) and save it, or merge the adapter where it"
                " was trained"
            )
    return ""
