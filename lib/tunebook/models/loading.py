"""Loads a resolved model and its tokenizer, with an adapter merged into it where one is given.

Does not download (see `source`) and does not choose the device (see `device`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.files import read_json, write_json
from tunebook.findings import Finding
from tunebook.inspection.adapter_checks import refuse_config
from tunebook.inspection.config_checks import refuse_base
from tunebook.inspection.template_sandbox import render_probes
from tunebook.machine import free_heap
from tunebook.models.corpus import check_pieces, strings
from tunebook.models.device import Placement
from tunebook.models.gguf_tokenizer import GgufTokenizer
from tunebook.models.source import ADAPTER, ModelSource
from tunebook.models.templates import ASKED, learn_ends, render_prompt, use_template

# what makes a tokenizer: transformers would write these files anew, and leave out what it does not use itself
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt",
)  # fmt: skip
PROBES, PROBED_IDS = (3, 16), 20_000  # rows and tokens; ids below this are text in every vocabulary
SAME_LOGITS = 1e-3  # float32 sums in another order stay below 1e-5 of the largest logit
LIST = "`tunebook inspect` lists every objection"
COMPARED = 300  # strings on which a tokenizer's class and its file are compared
LOADING = threading.Lock()  # transformers patches torch while it loads: two loads at once lose tied weights
REPAIR = "give the base that it was trained on, or save it again with PEFT's save_pretrained"


def load_tokenizer(place: ModelSource | Path, chat_template: str, end_of_turn: str = "", thinking: str = "none"):
    """The tokenizer of a model (or of its folder, or of a GGUF file) with the chat template called `chat_template`
    ("model", "chatml" or "plain"); an adapter's own where it brings one. It knows the ends of a turn (see
    `templates.learn_ends`).

    A model's own template is rendered once in the sandbox first. Raises InputProblem when it fails, or there is no
    tokenizer.
    """
    folder = place if isinstance(place, Path) else place.tokenizer_folder
    if folder.is_file():
        return GgufTokenizer(folder, chat_template, thinking=thinking, end_of_turn=end_of_turn)
    from transformers import AutoConfig, AutoTokenizer

    with one_sentence(f"model: {folder} has no readable tokenizer", "save it there with tokenizer.save_pretrained"):
        try:
            tokenizer = as_the_file_says(AutoTokenizer.from_pretrained(folder, trust_remote_code=False), folder)
        except Exception:
            if (folder / "config.json").exists():  # it is read for the tokenizer too
                with one_sentence(f"model: {folder} has no usable config.json", LIST):
                    AutoConfig.from_pretrained(folder, trust_remote_code=False)
            raise
        if not isinstance(tokenizer.model_max_length, (int, float)):
            raise ValueError("model_max_length is no number")
    if isinstance(place, ModelSource) and place.adapter:
        _use_adapters_own(tokenizer, place)
    use_template(tokenizer, chat_template, thinking)
    if chat_template == "model":
        render_probes(tokenizer.chat_template, tokenizer.bos_token or "", tokenizer.eos_token or "")
    weights = place if isinstance(place, Path) else place.folder
    learn_ends(tokenizer, _named_ends(weights), end_of_turn)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(min(tokenizer.ends))
    return tokenizer


def as_the_file_says(tokenizer, folder: Path):
    """`tokenizer`, or the one that tokenizer.json alone makes where the class that transformers takes reads some
    strings otherwise: `read_otherwise` are those strings. Other programs read the file too. See `check_pieces`.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer.read_otherwise = []
    if not (folder / "tokenizer.json").is_file() and (pieces := folder / "tokenizer.model").is_file():
        check_pieces(tokenizer, pieces, COMPARED)
    if not (folder / "tokenizer.json").is_file() or type(tokenizer) is PreTrainedTokenizerFast:
        return tokenizer
    plain = PreTrainedTokenizerFast.from_pretrained(folder)
    texts = strings(0, COMPARED)
    ours, theirs = (one(texts, add_special_tokens=False, verbose=False)["input_ids"] for one in (plain, tokenizer))
    plain.read_otherwise = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
    plain.passed_over = type(tokenizer).__name__
    return plain if plain.read_otherwise else tokenizer


def tokenizer_findings(tokenizer) -> list[Finding]:
    """What `as_the_file_says` found of a loaded tokenizer."""
    texts = getattr(tokenizer, "read_otherwise", [])
    if not texts:
        return []
    shown = ", ".join(repr(text[:40]) for text in sorted(texts, key=len)[:3])
    message = (
        f"transformers' {tokenizer.passed_over} reads {len(texts)} of {COMPARED} strings otherwise than tokenizer.json"
        f" (such as {shown}): here the file is used"
    )
    fix = "nothing for this kit; elsewhere load it as PreTrainedTokenizerFast, or llama.cpp's file"
    return [Finding("tokenizer_class", "info", len(texts), message, fix)]


def read_otherwise(folder: str) -> dict:
    """`tokenizer_findings` of a model folder, for a child process with limits, which has no folder to write into."""
    tempfile.tempdir = folder  # libraries ask for one when they are imported
    sys.modules.setdefault("torch", None)  # a tokenizer needs none, and importing it takes longer than the rest
    from transformers import AutoTokenizer

    with one_sentence(f"model: {folder} has no readable tokenizer", "save it there with tokenizer.save_pretrained"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        found = tokenizer_findings(as_the_file_says(tokenizer, Path(folder)))
    return {"findings": [finding.to_dict() for finding in found]}


def _use_adapters_own(tokenizer, source: ModelSource) -> None:
    """An adapter's chat template that comes without a tokenizer; InputProblem for a tokenizer with tokens that the
    base has not.
    """
    own = source.adapter / "chat_template.jinja"
    if own.is_file() and source.tokenizer_folder != source.adapter:
        tokenizer.chat_template = own.read_text(encoding="utf-8")
    config = read_json(source.folder / "config.json")
    size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    if source.tokenizer_folder == source.adapter and isinstance(size, int) and len(tokenizer) > size:
        raise InputProblem(
            f"adapter: the tokenizer in {source.adapter} has {len(tokenizer)} tokens, the base model has {size}; resize"
            " the base model's embedding (resize_token_embeddings) and save it, or merge the adapter where it was"
            " trained"
        )


def _named_ends(folder: Path) -> list[int]:
    """The end tokens that generation_config.json and config.json name."""
    named = []
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            config = read_json(folder / name)
            for part in (config, config.get("text_config")):
                value = part.get("eos_token_id") if isinstance(part, dict) else None
                named += value if isinstance(value, list) else [value]
    return [token for token in named if isinstance(token, int)]


def with_trained(source: ModelSource, trained: Path | None) -> tuple[ModelSource, Path | None]:
    """The weights to load and the adapter to add. Where the folder `trained` holds a whole model (config.json), as full
    fine-tuning leaves it, that takes the place of the base's weights.
    """
    if trained is None or not (trained / "config.json").is_file():
        return source, trained
    return replace(source, folder=trained, adapter=None), None


def load_model(source: ModelSource, placement: Placement, adapter: Path | None = None, attention: str = "sdpa"):
    """The model on its device; `adapter` is merged, so what is scored is what is exported (whole weights are taken).

    Where the source is an adapter itself, that one is merged first. The merge is done in float32 and then cast, since a
    bfloat16 sum would lose the adapter's small steps. Raises InputProblem when the folder holds no causal language
    model, an adapter does not fit it, or a weight is not a finite number.
    """
    import torch

    source, adapter = with_trained(source, adapter)
    adapters = [one for one in (source.adapter, adapter) if one]
    with LOADING:
        model = _read_weights(source, torch.float32 if adapters else placement.torch_dtype(), attention)
        for one in adapters:
            model = merge_adapter(model, one)
    model = model.to(placement.torch_dtype())
    broken = next((name for name, weights in model.named_parameters() if not torch.isfinite(weights).all()), None)
    if broken:
        raise InputProblem(
            f"model: {adapters[-1] if adapters else source.name} has weights that are NaN or infinite ({broken})"
        )
    return model.to(placement.device).eval()


def open_engine(
    source: ModelSource,
    placement: Placement,
    chat_template: str,
    slots: int,
    adapter: Path | None = None,
    end_of_turn: str = "",
    thinking: str = "none",
):
    """What answers prompts with this model, whatever form it has: transformers for weights, llama.cpp for a GGUF
    file.
    """
    from tunebook.models.engine import TransformersEngine

    if source.is_gguf:
        from tunebook.models.gguf_engine import GgufModel

        return GgufModel(source.folder, slots, chat_template, thinking=thinking, end_of_turn=end_of_turn)
    tokenizer = load_tokenizer(source, chat_template, end_of_turn, thinking)
    return TransformersEngine(load_model(source, placement, adapter), tokenizer, slots)


@dataclass(frozen=True)
class BaseModel:
    """The model that a study starts from, on this machine: its files, device and precision, tokenizer, and the
    sequences in flight.
    """

    source: ModelSource
    placement: Placement
    tokenizer: object
    slots: int = 64

    @contextmanager
    def engine(self, adapter: Path | None = None):
        """What answers prompts with the model (and `adapter` merged into it); its memory is free again afterwards."""
        from tunebook.models.engine import TransformersEngine

        engine = TransformersEngine(load_model(self.source, self.placement, adapter), self.tokenizer, self.slots)
        try:
            yield engine
        finally:
            engine.model = None  # the caller's name outlives the block
            free_memory()


def _read_weights(source: ModelSource, dtype, attention: str):
    """The base model on the CPU. Raises InputProblem where a weight is missing or of another shape: it would be
    random.
    """
    from transformers import AutoModelForCausalLM

    refuse_base(source.folder)
    where = {"pretrained_model_name_or_path": source.folder, "dtype": dtype, "output_loading_info": True}
    # mismatched weights are let pass here and refused below, by name
    where |= {"use_safetensors": True, "trust_remote_code": False, "ignore_mismatched_sizes": True}
    begin = f"model: {source.name} is no causal language model that can be read"
    with one_sentence(begin, LIST):
        try:
            model, told = AutoModelForCausalLM.from_pretrained(attn_implementation=attention, **where)
        except ValueError as problem:
            if "scaled_dot_product_attention" not in str(problem):
                raise
            model, told = AutoModelForCausalLM.from_pretrained(attn_implementation="eager", **where)
        for name, found, expected in sorted(told["mismatched_keys"], key=str):
            raise ValueError(f"{name} is {list(found)}, config.json asks for {list(expected)}")
        if missing := sorted(told["missing_keys"]):
            count = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"config.json asks for {missing[0]}{count}, which its files do not have")
    return model


def merge_adapter(model, adapter: Path):
    """`model` with the LoRA of folder `adapter` added into its weights. Raises InputProblem unless each weight finds
    its place, and unless the merged model gives the logits of the adapter on its base.

    Embedding and output head that are one weight are parted first where the adapter changes one of them.
    """
    from peft import PeftModel

    refuse_config(adapter, read_json(adapter / ADAPTER))
    with one_sentence(f"adapter: {adapter} does not fit the base model", REPAIR):
        adapted = PeftModel.from_pretrained(model, str(adapter))
        # the same weights again, for PEFT's list of what found no place
        told = adapted.load_adapter(str(adapter), "default")
        if told.missing_keys:
            name = told.missing_keys[0].replace(".default", "")
            raise ValueError(f"its config asks for {name}, which its file does not have")
        if told.unexpected_keys:
            raise ValueError(f"its file has {told.unexpected_keys[0]}, which its config does not ask for")
        expected = probe(adapted)
        config = adapted.peft_config["default"]
        keeps_tie = config.trainable_token_indices or getattr(config, "ensure_weight_tying", False)  # on both sides
        if _changes_tied(adapted) and not keeps_tie:
            model = untie(adapted.unload())
            adapted = PeftModel.from_pretrained(model, str(adapter))
        try:
            merged = adapted.merge_and_unload(safe_merge=True)
        except ValueError as problem:
            if "NaNs detected" not in str(problem):
                raise
            raise InputProblem(f"adapter: {adapter} has weights that are NaN or infinite") from problem
    apart = difference(expected, probe(merged))
    if not apart < SAME_LOGITS:
        raise InputProblem(
            f"adapter: {adapter} cannot be merged: the merged model's logits differ from those of the adapter on its"
            f" base by {apart:.2g} of the largest; train one whose weights can be added into the base (LoRA on linear"
            " layers)"
        )
    return merged


def probe(model):
    """Logits (rows, tokens, vocabulary) in float32 after a few fixed token ids, to compare two forms of one model."""
    import torch

    size = min(model.get_input_embeddings().weight.shape[0], PROBED_IDS)
    ids = torch.randint(size, PROBES, generator=torch.Generator().manual_seed(0)).to(model.device)
    with torch.inference_mode():
        return model.eval()(input_ids=ids).logits.float()


def difference(ours, theirs) -> float:
    """The largest difference of two `probe`s, as a share of the largest logit."""
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-30))


def _changes_tied(adapted) -> bool:
    """Whether an adapter changes the embedding or the head of a model in which both are one weight."""
    ends = [adapted.get_input_embeddings(), adapted.get_output_embeddings()]
    weights = [
        getattr(module, "base_layer", getattr(module, "original_module", module)).weight for module in ends if module
    ]
    return (
        len(weights) == 2
        and weights[0] is weights[1]
        and any(hasattr(module, "base_layer") or hasattr(module, "original_module") for module in ends)
    )


def untie(model):
    """`model` with an output head of its own, equal to the embedding."""
    import torch

    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}
    return model


def copy_tokenizer(source: Path, tokenizer, folder: Path) -> None:
    """The tokenizer files of `source` as they are, with the chat template in use."""
    tokenizer.save_pretrained(folder)
    for path in (folder / "chat_template.jinja", folder / "chat_template.json"):
        path.unlink(missing_ok=True)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    settings = read_json(folder / "tokenizer_config.json")
    if (folder / "tokenizer.model").is_file() and "added_tokens_decoder" not in settings:
        # beside a SentencePiece model the converter reads there which tokens are whole; transformers 5 no longer writes
        # it
        added = tokenizer.added_tokens_decoder.items()
        settings["added_tokens_decoder"] = {str(at): {"content": t.content, "special": t.special} for at, t in added}
    settings |= {"chat_template": tokenizer.chat_template, "add_bos_token": begins_with_bos(tokenizer)}
    settings |= {"read_as_file": True} if hasattr(tokenizer, "passed_over") else {}  # for the converter
    write_json(folder / "tokenizer_config.json", settings)


def begins_with_bos(tokenizer) -> bool:
    """Whether a server is to put BOS before a prompt that has none: the tokenizer does so, and the template writes it
    too.

    Where the template writes none, training had none.
    """
    bos, ids = tokenizer.bos_token_id, tokenizer("a")["input_ids"]
    return bos is not None and ids[:1] == [bos] and render_prompt(tokenizer, [ASKED])[:1] == [bos]


@contextmanager
def one_sentence(begin: str, remedy: str):
    """Whatever a library raises on a bad file, as InputProblem with the first line of its reason; MachineProblem for
    lack of memory.
    """
    try:
        yield
    except (InputProblem, MachineProblem, IntegrityProblem, MemoryError):
        raise
    except Exception as problem:
        if type(problem).__name__ == "OutOfMemoryError" or "allocate memory" in str(problem):
            raise MachineProblem(
                f"{' '.join(begin.split(' ')[:2])} needs more memory than there is ({_first_line(problem)}); use a"
                " smaller model"
            ) from problem
        raise InputProblem(f"{begin} ({_first_line(problem)}); {remedy}") from problem


def _first_line(problem: Exception) -> str:
    """The first line of its message that says something, printable, at most 200 characters."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    said = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    if not said or isinstance(problem, (KeyError, IndexError)):
        said = f"{type(problem).__name__} {said}".strip()
    said = "".join(sign if sign.isprintable() else "?" for sign in said)
    return said if len(said) <= 200 else f"{said[:197]}..."


def free_memory() -> None:
    """Returns unused memory to the machine after a model was dropped."""
    import torch

    free_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
