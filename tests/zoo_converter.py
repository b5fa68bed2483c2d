"""The kit's converter process for vocabularies that llama.cpp's converter cannot know.

The converter recognises a byte-level BPE by the hash of one encoded text and refuses all others, and the hash depends
on the ids, so no tiny vocabulary can have a known one. Here that one function returns the name that llama.cpp has for
the published family, which a job of `model` names first, and nothing else is replaced; whether llama.cpp splits as this
name says is what the comparison of token ids then shows.
"""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "lib/tunebook/export/converter_script.py"


def main() -> None:
    spec = importlib.util.spec_from_file_location("converter_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    convert = script.model

    def model(pre: str, *words: str) -> None:
        from conversion import base

        if pre:
            base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
        convert(*words)

    script.model = model
    script.main()


if __name__ == "__main__":
    main()
