"""What runs in the converter's process: its package `gguf` must not meet the installed one. Started by `convert`, with
the converter on PYTHONPATH; `main` takes jobs.

`model SCRIPT ENDS ARGUMENTS...` runs the converter's script and writes further ends of a turn into the file. `adapter
BASE ARCHIVE TARGET` writes a LoRA adapter: A is written as it is; B goes through the converter's own mapping of the
weight that it changes, since that mapping renames and permutes rows, and rows of B are rows of the weight. Source: docs
of llama.cpp's adapter GGUF, `convert_lora_to_gguf.py`.
"""

import functools
import json
import os
import re
import runpy
import signal
import sys
import tempfile
import traceback
from pathlib import Path


def _mend() -> None:
    """The converter asks transformers for config.json, which renames keys that it then misses (rotary_pct, n_ctx): the
    published ones go first.

    Heads that predict several tokens (mtp) are neither read nor written by transformers, so they are not looked for.
    Its modules for DeepSeek (which those for GLM and Mistral import), HunYuan and others name tensors and architectures
    that its own `gguf` does not have.
    """
    import conversion
    import gguf
    from conversion.base import ModelBase
    from transformers import AutoTokenizer

    for file in Path(conversion.__file__).parent.glob("*.py"):
        for kind, name in re.findall(r"gguf\.(MODEL_TENSOR|MODEL_ARCH)\.(\w+)", file.read_text(encoding="utf-8")):
            if name not in getattr(gguf, kind).__members__:
                setattr(getattr(gguf, kind), name, None)
    load, ModelBase.no_mtp = ModelBase.load_hparams, True

    def load_all(dir_model, is_mistral_format=False):
        config = load(dir_model, is_mistral_format)
        published = json.loads((Path(dir_model) / "config.json").read_text(encoding="utf-8"))
        inner = {"text_config": config["text_config"] | published["text_config"]} if "text_config" in published else {}
        return config | published | inner

    ModelBase.load_hparams = staticmethod(load_all)
    AutoTokenizer.from_pretrained = functools.partial(_read_tokenizer, AutoTokenizer.from_pretrained)


def _read_tokenizer(read, folder, *arguments, **settings):
    """The tokenizer of a folder as tokenizer.json alone makes it, where `copy_tokenizer` says that the class which
    transformers takes reads otherwise: it may add tokens of its own (Qwen's <|endoftext|> to R1 distilled). Code that
    comes with a tokenizer is never run.
    """
    from transformers import PreTrainedTokenizerFast

    told = json.loads((Path(folder) / "tokenizer_config.json").read_text(encoding="utf-8"))
    read = PreTrainedTokenizerFast.from_pretrained if told.get("read_as_file") else read
    return read(folder, *arguments, **settings | {"trust_remote_code": False})


def model(script: str, ends: str, *arguments: str) -> None:
    """`ends` are token ids as JSON: the end token, null for none, and at most two at which llama.cpp also stops, as the
    end of a turn (eot) and of a message (eom). They are written whatever the converter takes for them (for HunYuan the
    `eod_token_id` of config.json, which no answer ends with).
    """
    import gguf

    ours = {
        kind: token for kind, token in zip(("eos", "eot", "eom"), json.loads(ends), strict=False) if token is not None
    }
    write = gguf.SpecialVocab.add_to_gguf
    for kind, token in ours.items():
        add = getattr(gguf.GGUFWriter, f"add_{kind}_token_id")
        setattr(gguf.GGUFWriter, add.__name__, lambda writer, _, add=add, token=token: add(writer, token))

    def write_all(self, writer, quiet=False):
        write(self, writer, quiet)
        for kind, token in ours.items():
            getattr(writer, f"add_{kind}_token_id")(token)

    gguf.SpecialVocab.add_to_gguf = write_all
    _mend()
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def adapter(base: str, archive: str, target: str) -> None:
    """`archive` is a .npz with NAME.a, NAME.b and NAME.scale for every changed weight."""
    import conversion
    import gguf
    import numpy
    import torch
    from conversion.base import ModelBase, ModelType, get_model_architecture

    _mend()
    architecture = get_model_architecture(ModelBase.load_hparams(Path(base), False), ModelType.TEXT)
    kind = conversion.get_model_class(architecture, mmproj=False)
    mapping = kind(Path(base), gguf.LlamaFileType.ALL_F32, Path(target))
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[kind.model_arch])
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    stored = numpy.load(archive)
    names = sorted({key.rpartition(".")[0] for key in stored.files})
    # llama.cpp scales by alpha / rank with one alpha: what a module's own scale is beside that goes into its B
    alphas = {name: float(stored[f"{name}.scale"]) * stored[f"{name}.a"].shape[0] for name in names}
    alpha = max(alphas.values(), key=abs)
    writer.add_float32("adapter.lora.alpha", alpha)
    for name in names:
        a, b = stored[f"{name}.a"], torch.from_numpy(stored[f"{name}.b"]) * (alphas[name] / alpha)
        hit = re.search(r"\.(\d+)\.", name)
        made = list(mapping.modify_tensors(b, name, int(hit.group(1)) if hit else None))
        if len(made) != 1 or made[0][1].shape != b.shape:
            sys.exit(f"{name} is stored in another form, which an adapter cannot follow")
        writer.add_tensor(f"{made[0][0]}.lora_a", numpy.ascontiguousarray(a))
        writer.add_tensor(f"{made[0][0]}.lora_b", numpy.ascontiguousarray(made[0][1].numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Every line of standard input is a job, a list of words as above; its answer is a line {"status", "said"}.

    Each job runs in a fork of this process, which has imported what takes seconds; only on Linux, where a fork may.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import conversion  # noqa: F401
        from transformers.models.llama import configuration_llama  # noqa: F401
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as said:
            child = os.fork()
            if not child:
                _work(json.loads(line), said.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            lines = said.read().strip().splitlines() or [f"no message, exit status {status}"]
        print(json.dumps({"status": status, "said": lines[-1]}), flush=True)


def _work(words: list[str], log: int) -> None:
    """Does a job in a fork, which ends here."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        {"model": model, "adapter": adapter}[words[0]](*words[1:])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
        print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
