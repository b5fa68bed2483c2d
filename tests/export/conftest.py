"""What two test files convert once."""

import pytest

from tiny_models import adapted, tiny_llama, tokenizer
from tunebook.export.convert import convert_adapter, convert_to_gguf


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """A folder with a tiny model `base/`, an `adapter/` on it, and both as GGUF: `base.gguf`, `adapter.gguf`."""
    root = tmp_path_factory.mktemp("converted")
    tiny_llama().save_pretrained(root / "base")
    tokenizer().save_pretrained(root / "base")
    adapted(root / "adapter", str(root / "base"))
    convert_to_gguf(root / "base", root / "base.gguf")
    convert_adapter(root / "base", root / "adapter", root / "adapter.gguf")
    return root
