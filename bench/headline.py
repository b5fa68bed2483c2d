"""The headline study in small: `python bench/headline.py FOLDER VOCABULARY`.

Runs params/qwen3_codeforces.yaml to its end without the Hub. FOLDER gets a random Qwen3 of two layers with Qwen3's
files, template and 151,936 words, and a parquet file with the columns of open-r1/codeforces-cots, configuration
solutions_py_decontaminated. Sizes are cut, nothing else of the study is changed. Scores mean nothing; what is shown is
that every stage accepts what the one before it leaves. Writes outputs/bench/headline.json.

VOCABULARY is ggml-vocab-qwen2.gguf of llama.cpp, which lies in the source package of llama-cpp-python under
vendor/llama.cpp/models: the GGUF converter knows a tokenizer by its real words only. Source of the columns: the data
set's card of March 2025; of the added tokens' numbers: tokenizer_config.json of Qwen/Qwen3-0.6B.
"""

import argparse
import json
import os
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
N_ROWS = 60
SIZES = {"n_rows": N_ROWS, "benchmark_limit": 10, "max_new_tokens": 24, "general_documents": 3, "audit_problems": 4}
SIZES |= {"search_share": 1e-6}
SIZES |= {"watch_points": 1, "max_length": 512, "learning_rate": 0.001, "parity_rows": 4, "served_prompts": 2}
SIZES |= {"sensitivity": '["thinking=on; max_new_tokens=48"]', "sensitivity_limit": 4, "retained_max_new_tokens": 24}


ADDED = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|vision_start|>": 151652}
ADDED |= {"<tool_call>": 151657, "</tool_call>": 151658, "<think>": 151667, "</think>": 151668}


def give_real_words(folder: Path, vocabulary: Path) -> None:
    """Put Qwen's words and merges, and the numbers of its added tokens, into the tiny model's files."""
    import gguf

    fields = gguf.GGUFReader(vocabulary).fields
    words = fields["tokenizer.ggml.tokens"].contents()[: ADDED["<|endoftext|>"]]
    merges = [merge.split(" ") for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    numbers = {str(token["id"]): ADDED[token["content"]] for token in tokenizer["added_tokens"]}
    tokenizer["model"] |= {"vocab": {word: at for at, word in enumerate(words)}, "merges": merges}
    for token in tokenizer["added_tokens"]:
        token["id"] = ADDED[token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"model_max_length": 131072}
    named = settings["added_tokens_decoder"].items()
    settings["added_tokens_decoder"] = {str(numbers[old]): token for old, token in named}
    path.write_text(json.dumps(settings))
    for name in ("config.json", "generation_config.json"):
        values = json.loads((folder / name).read_text())
        ends = values["eos_token_id"]
        values["eos_token_id"] = [numbers[str(end)] for end in ends] if isinstance(ends, list) else numbers[str(ends)]
        (folder / name).write_text(json.dumps(values))


def row(number: int, dice: random.Random) -> dict:
    """One row: a problem of sums, its trace with a thought, and every column of the data set."""
    factor, shift = dice.randint(2, 99), dice.randint(1, 99)
    title = f"Scaled sum {number}"
    description = f"You are given n numbers. Print their sum times {factor}, plus {shift}."
    code = f"n = int(input())\nvalues = list(map(int, input().split()))\nprint(sum(values) * {factor} + {shift})"
    prompt = (
        "You will be given a competitive programming problem. Analyze the maximum input constraints and write a Python"
        f" solution within the limits.\n\n# Problem\n\n{description}\n\n## Input Format\nThe first line has n."
    )
    thought = f"The sum is taken once, times {factor}, plus {shift}: linear time, which is fast enough for {number}."
    generation = f"<think>\n{thought}\n</think>\n\nAdd the numbers, scale the sum.\n\n```python\n{code}\n```"
    turns = [{"content": prompt, "role": "user"}, {"content": generation, "role": "assistant"}]
    tokens = {"completion_tokens": 90, "prompt_tokens": 70, "prompt_tokens_details": None, "total_tokens": 160}
    about = {"id": f"{number}/A", "aliases": [f"{number}/A"], "contest_id": str(number), "contest_name": "Round"}
    about |= {"contest_type": "CF", "contest_start": 1500000000, "contest_start_year": 2017, "index": "A"}
    about |= {"time_limit": 1.0, "memory_limit": 256, "title": title, "description": description}
    about |= {"input_format": "n, then the numbers", "output_format": "one number", "note": None, "editorial": None}
    about |= {"examples": [{"input": "1\n1\n", "output": f"{factor + shift}\n"}], "prompt": prompt}
    return about | {"generation": generation, "finish_reason": "stop", "api_metadata": tokens, "messages": turns}


def main() -> int:
    """Exit code 1 where a stage broke off or was skipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=lambda text: Path(text).resolve())
    parser.add_argument("vocabulary", type=lambda text: Path(text).resolve())
    parser.add_argument("--out", default=ROOT / "outputs" / "bench", type=Path)
    wanted = parser.parse_args()
    sys.path[:0] = [str(ROOT / "lib"), str(ROOT / "tests")]
    import datasets

    import zoo
    from tunebook.files import write_json
    from tunebook.pipeline.progress import Display
    from tunebook.pipeline.provenance import environment
    from tunebook.pipeline.record import load_record
    from tunebook.pipeline.study import Request, run_study

    folder = wanted.folder
    zoo.build("qwen3", folder / "model", max_position_embeddings=40960, vocab_size=151936)
    give_real_words(folder / "model", wanted.vocabulary)
    dice = random.Random(0)
    rows = folder / "train-00000-of-00001.parquet"
    datasets.Dataset.from_list([row(number, dice) for number in range(N_ROWS)]).to_parquet(rows)
    values = SIZES | {"model": folder / "model", "model_revision": '""', "rows": rows, "rows_revision": '""'}
    os.environ["TUNEBOOK_OUTPUTS"] = str(folder / "outputs")
    sets = tuple(f"{name}={value}" for name, value in values.items())
    study = ROOT / "params" / "qwen3_codeforces.yaml"
    code = run_study(ROOT, Request(str(study), "headline", "", "", sets, True), Display(sys.stdout))
    run = load_record(folder / "outputs" / "headline")
    states = {
        name: {key: state.get(key) for key in ("state", "seconds", "message")} for name, state in run["states"].items()
    }
    result = {"stages": states, "verdict": run.get("verdict"), "sizes": SIZES, "exit_code": code}
    write_json(
        wanted.out / "headline.json", {"result": result, "environment": environment(ROOT), "load": os.getloadavg()}
    )
    return int(any(state["state"] in ("error", "skipped") for state in states.values()))


if __name__ == "__main__":
    sys.exit(main())
