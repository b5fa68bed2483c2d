"""Answers a problem with `choices` by likelihood: the choice that the model finds likeliest a byte after the prompt.

The prompt is continued as plain text, without the conversation form, so that what a model knows is seen apart from how
it talks. Guessing gets one in as many as there are choices. Does not judge.

Source: Gao et al., lm-evaluation-harness: the sum of log-likelihoods over the length of the choice (`acc_norm`).
"""

from collections.abc import Iterator, Sequence

from tunebook.models.templates import start_id

READ_TOKENS = 1024  # read in one call; the logits of all are kept at once


def likeliest(engine, problems: Sequence[dict]) -> Iterator[tuple[str, list[float]]]:
    """The likeliest choice of each of `problems`, and the log-likelihood of each choice in nats a byte, in the order of
    `choices`, rounded to 4 digits.

    `engine` is a TransformersEngine or a GgufModel. Texts that differ in their last token only are read once.
    """
    rows = [[_tokens(engine, problem["prompt"], choice) for choice in problem["choices"]] for problem in problems]
    nats = _read(engine, [row for parts in rows for row in parts])
    for problem, parts in zip(problems, rows, strict=True):
        choices = problem["choices"]
        scores = [round(nats[row] / len(choice.encode()), 4) for row, choice in zip(parts, choices, strict=True)]
        yield choices[scores.index(max(scores))], scores


def _tokens(engine, prompt: str, choice: str) -> tuple[tuple[int, ...], int]:
    """Tokens of start, prompt and choice, and the place of the first one that is not the prompt's alone."""
    whole, before = (
        [start_id(engine.tokenizer), *engine.tokenizer(text, add_special_tokens=False)["input_ids"]]
        for text in (f"{prompt} {choice}", prompt)
    )
    shared = next((at for at, (a, b) in enumerate(zip(whole, before)) if a != b), min(len(whole), len(before)))
    return tuple(whole), min(shared, len(whole) - 1)


def _read(engine, rows: list[tuple[tuple[int, ...], int]]) -> dict[tuple, float]:
    """Nats of the tokens of each row from its place on, by row."""
    asked: dict[tuple[int, ...], list] = {}
    for row in dict.fromkeys(rows):
        asked.setdefault(row[0][:-1], []).append(row)
    texts, found = sorted(asked, key=len), {}
    while texts:
        longest = len(texts[-1])
        batch = [texts.pop() for _ in range(min(len(texts), max(1, READ_TOKENS // longest)))]
        for text, logps in zip(batch, _log_probabilities(engine, batch), strict=True):
            for row in asked[text]:
                ids, start = row
                found[row] = float(sum(logps[at - 1, ids[at]] for at in range(start, len(ids))))
    return found


def _log_probabilities(engine, batch: list[tuple[int, ...]]):
    """For each text the float32 log-probabilities after each of its tokens, (tokens, vocabulary)."""
    import torch

    if hasattr(engine, "read_logits"):
        return [torch.from_numpy(engine.read_logits(list(text), 0)).log_softmax(-1) for text in batch]
    if engine.model.config._attn_implementation != "sdpa":  # generation may have set its own
        engine.model.set_attn_implementation("sdpa")
    longest = max(map(len, batch))
    ids = torch.tensor([[*text, *[text[-1]] * (longest - len(text))] for text in batch], device=engine.model.device)
    with torch.inference_mode():  # what is filled up stands behind the text, where nothing before it sees it
        logits = engine.model(input_ids=ids, use_cache=False).logits.float()
    return logits.log_softmax(-1)
