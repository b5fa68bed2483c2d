"""What a model finds likely: the choice of a problem with `choices`, and a judge's yes or no about a free answer.

A choice continues the prompt as plain text, without the conversation form, so that what a model knows is seen apart
from how it talks. Guessing gets one in as many as there are choices. A judge is asked in its own conversation form.

Source: Gao et al., lm-evaluation-harness: the sum of log-likelihoods over the length of the choice (`acc_norm`).
"""

from collections.abc import Iterator, Sequence

from tunebook.errors import InputProblem
from tunebook.models.templates import start_id

READ_TOKENS = 1024  # read in one call; the logits of all are kept at once
QUESTIONS = ("Does the answer meet the criterion?", "Does the answer fail the criterion?")  # its yes is the other's no
JUDGED = "Request:\n{prompt}\n\n{reference}Answer:\n{answer}\n\nCriterion: {criterion}\n\n{question} Reply yes or no."


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


def judge_answers(engine, answers: Sequence[dict], criterion: str, thinking: str = "none") -> list[dict]:
    """What a judge says of each of `answers` (`prompt`, `reference` or "", `answer`) by `criterion`: `right`, the
    probability that it meets it; `apart`, how far its answers to two opposite questions are from each other (both
    between 0 and 1); and `mass`, the share of its first token that is yes or no at all.

    It is asked both ways round, and `right` is the mean, so that a judge which says yes to anything knows nothing
    instead of praising all. InputProblem for a judge without a token for yes and no, or an answer too long for it.
    """
    words = [_word_ids(engine.tokenizer, word) for word in ("yes", "no")]
    texts = [tuple(engine.encode(_judged(row, criterion, ask), thinking)) for row in answers for ask in QUESTIONS]
    longest = max(map(len, texts), default=0)
    if longest > engine.limit:
        raise InputProblem(f"judge: an answer with its request has {longest} tokens, it reads {engine.limit}")
    waiting, said = sorted(set(texts), key=len), {}
    while waiting:
        longest = len(waiting[-1])
        batch = [waiting.pop() for _ in range(min(len(waiting), max(1, READ_TOKENS // longest)))]
        for text, logps in zip(batch, _log_probabilities(engine, batch, last=True), strict=True):
            said[text] = [float(logps[-1, ids].exp().sum()) for ids in words]
    rows = []
    for at in range(0, len(texts), 2):
        (yes, no), (fails, meets) = said[texts[at]], said[texts[at + 1]]
        first, second = (a / max(a + b, 1e-30) for a, b in ((yes, no), (meets, fails)))
        row = {"right": (first + second) / 2, "apart": abs(first - second), "mass": min(yes + no, fails + meets)}
        rows.append({key: round(value, 6) for key, value in row.items()})
    return rows


def _judged(row: dict, criterion: str, question: str) -> list[dict]:
    known = f"A right answer, for comparison:\n{row['reference']}\n\n" if row["reference"] else ""
    fields = {"prompt": row["prompt"], "answer": row["answer"], "criterion": criterion, "question": question}
    return [{"role": "user", "content": JUDGED.format(reference=known, **fields)}]


def _word_ids(tokenizer, word: str) -> list[int]:
    """The tokens that are this word alone, in the forms in which an answer begins with it."""
    forms = [space + form for form in (word, word.capitalize(), word.upper()) for space in ("", " ")]
    ids = [tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
    found = sorted({one[0] for one in ids if len(one) == 1})
    if not found:
        raise InputProblem(f"judge: its tokenizer has no token for {word!r}, so it cannot be asked: take another judge")
    return found


def _log_probabilities(engine, batch: list[tuple[int, ...]], last: bool = False):
    """For each text the float32 log-probabilities after each of its tokens, (tokens, vocabulary), or with `last` after
    its last one alone, (1, vocabulary).
    """
    import torch

    if hasattr(engine, "read_logits"):
        read = [engine.read_logits(list(text), len(text) - 1 if last else 0) for text in batch]
        return [torch.from_numpy(logits).log_softmax(-1) for logits in read]
    if engine.model.config._attn_implementation != "sdpa":  # generation may have set its own
        engine.model.set_attn_implementation("sdpa")
    longest = max(map(len, batch))
    ids = torch.tensor([[*text, *[text[-1]] * (longest - len(text))] for text in batch], device=engine.model.device)
    with torch.inference_mode():  # what is filled up stands behind the text, where nothing before it sees it
        logits = engine.model(input_ids=ids, use_cache=False).logits
        if last:
            logits = logits[range(len(batch)), [len(text) - 1 for text in batch]][:, None]
    return logits.float().log_softmax(-1)
