"""Writes a LoRA adapter as GGUF, in a process of its own: the converter's package `gguf` must not meet the installed one.

Run by `convert.convert_adapter` as `python adapter_script.py BASE ARCHIVE TARGET` with the converter on PYTHONPATH. A
is written as it is; B goes through the converter's own mapping of the weight that it changes, since that mapping renames and
permutes rows, and rows of B are rows of the weight. Source: docs of llama.cpp's adapter GGUF, `convert_lora_to_gguf.py`.
"""

import re
import sys
from pathlib import Path


def main(base: str, archive: str, target: str) -> None:
    """`archive` is a .npz with NAME.a, NAME.b and NAME.scale for every changed weight."""
    import conversion
    import gguf
    import numpy
    import torch
    from conversion.base import ModelBase, ModelType, get_model_architecture

    architecture = get_model_architecture(ModelBase.load_hparams(Path(base), False), ModelType.TEXT)
    kind = conversion.get_model_class(architecture, mmproj=False)
    model = kind(Path(base), gguf.LlamaFileType.ALL_F32, Path(target))
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[kind.model_arch])
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    stored = numpy.load(archive)
    names = sorted({key.rpartition(".")[0] for key in stored.files})
    alphas = {float(stored[f"{name}.scale"]) * stored[f"{name}.a"].shape[0] for name in names}
    if len(alphas) != 1:
        sys.exit("its modules have different scales, which an adapter file cannot hold")
    writer.add_float32("adapter.lora.alpha", alphas.pop())
    for name in names:
        a, b = stored[f"{name}.a"], torch.from_numpy(stored[f"{name}.b"])
        hit = re.search(r"\.(\d+)\.", name)
        made = list(model.modify_tensors(b, name, int(hit.group(1)) if hit else None))
        if len(made) != 1 or made[0][1].shape != b.shape:
            sys.exit(f"{name} is stored in another form, which an adapter cannot follow")
        writer.add_tensor(f"{made[0][0]}.lora_a", numpy.ascontiguousarray(a))
        writer.add_tensor(f"{made[0][0]}.lora_b", numpy.ascontiguousarray(made[0][1].numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
