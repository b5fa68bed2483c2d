"""Several adapters served from one base file, switched from request to request, against one merged file for each.

Does not judge the task.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tunebook.export.convert import convert_adapter, export_files
from tunebook.export.parity import log_softmax
from tunebook.export.speed import ENOUGH, measure_memory
from tunebook.models.device import cores
from tunebook.models.engine import Decoding
from tunebook.models.gguf_engine import GgufModel
from tunebook.models.limited import call

# nats between two tokens: below it, the order of the sums in float16 decides which one is greedy's
NEAR_TIE = 0.1


def compare_served(
    base: Path, adapters: dict[str, Path], merged: dict[str, Path], conversations: list, max_new_tokens: int
) -> list[dict]:
    """One row an adapter: `adapter, n, same_text, near_ties, unexplained`, of greedy answers served from `base` against merged.

    The adapters take turns at every request. A different answer counts as a near-tie where the merged model sees less than
    `NEAR_TIE` nats between the two first differing tokens.
    """
    served = GgufModel(base, 1, adapters=adapters)
    prompts, decoding = [served.encode(messages) for messages in conversations], Decoding(max_new_tokens)
    answers: dict[str, list] = {name: [] for name in adapters}
    for prompt in prompts:
        for name in adapters:
            served.use_adapter(name)
            answers[name] += [next(served.generate([prompt], decoding)).ids]
    served.close()
    rows = []
    for name, path in merged.items():
        alone = GgufModel(path, 1)
        kinds = [_compare(alone, prompt, ids, decoding) for prompt, ids in zip(prompts, answers[name], strict=True)]
        alone.close()
        counts = {kind: kinds.count(kind) for kind in ("same_text", "near_ties", "unexplained")}
        rows.append({"adapter": name, "n": len(prompts), **counts})
    return rows


def _compare(alone: GgufModel, prompt: list[int], served: list[int], decoding: Decoding) -> str:
    own = next(alone.generate([prompt], decoding)).ids
    if own == served:
        return "same_text"
    at = next((at for at, pair in enumerate(zip(own, served)) if pair[0] != pair[1]), min(len(own), len(served)))
    ids = [*prompt, *own[:at]]
    expected = log_softmax(alone.read_logits(ids, len(ids) - 1))[0]
    first = expected.max()
    other = expected[served[at]] if at < len(served) else max(expected[stop] for stop in alone.stops)
    return "near_ties" if first - other < NEAR_TIE else "unexplained"


def compare_memory(base: Path, adapters: dict[str, Path], merged: list[Path]) -> dict:
    """Peak bytes above an empty process: `one_base` with all adapters, and `merged_files` open side by side."""
    names = {name: str(path.resolve()) for name, path in adapters.items()}
    first = {"path": str(base.resolve()), "adapters": names, "others": []}
    second = {"path": str(merged[0].resolve()), "adapters": {}, "others": [str(path.resolve()) for path in merged[1:]]}
    function = f"tunebook.export.speed:{measure_memory.__name__}"
    return {
        "one_base": call(function, first, [base, *adapters.values()], ENOUGH)["bytes"],
        "merged_files": call(function, second, merged, ENOUGH)["bytes"],
    }


def export_served(
    source, adapters: dict[str, Path], tokenizer, folder: Path, scratch: Path, made: dict[str, Path]
) -> dict:
    """What serving needs: `base` (f16 GGUF) and `adapters` in `folder`, and in `scratch` the `merged` files that `made` lacks.

    The converter spends its time in imports, so the conversions run side by side.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def merge(name: str, adapter: Path | None) -> Path:
        (scratch / name).mkdir()
        return export_files(source, adapter, tokenizer, scratch / name, ["f16"])["f16"]

    with ThreadPoolExecutor(max_workers=cores()) as pool:
        base = pool.submit(merge, "base", None)
        alone = {
            name: pool.submit(convert_adapter, source.folder, adapter, folder / f"adapter-{name}.gguf")
            for name, adapter in adapters.items()
        }
        merged = {name: pool.submit(merge, name, adapter) for name, adapter in adapters.items() if name not in made}
    return {
        "base": base.result().rename(folder / "base-f16.gguf"),
        "adapters": {name: one.result() for name, one in alone.items()},
        "merged": {name: made.get(name) or merged[name].result() for name in adapters},
    }


def serve(
    source, adapters: dict[str, Path], tokenizer, folder: Path, made: dict[str, Path], conversations: list, new: int
):
    """Rows of `compare_served` and the bytes of `compare_memory`; base and adapters stay in `folder`, other files do not.

    `made` are merged f16 files that exist already; `new` tokens at most are answered.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".merged-") as scratch:
        found = export_served(source, adapters, tokenizer, folder, Path(scratch), made)
        rows = compare_served(found["base"], found["adapters"], found["merged"], conversations, new)
        return rows, compare_memory(found["base"], found["adapters"], list(found["merged"].values()))
