"""The folder that is given away: the chosen GGUF, an Ollama Modelfile, a script that tries it, and, last, the model
card.

Nothing in it is typed by hand: every number and text comes from the run. Does not choose the file (see `choice`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tunebook.evaluation.prompts import messages
from tunebook.files import read_jsonl, write_text
from tunebook.models.templates import CHATML

# ChatML in the language of Ollama's templates (Go's text/template)
OLLAMA_CHATML = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
SMOKE = '''"""Loads the file beside this script with llama-cpp-python and asks it one question.

Exit 0 when the answer is the recorded one."""

import sys
from pathlib import Path

from llama_cpp import Llama

FILE = {file}
ASKED = {asked}
EXPECTED = {expected}

model = Llama(str(Path(__file__).with_name(FILE)), n_ctx={context}, verbose=False)
settings = {{"temperature": 0.0, "max_tokens": {max_new_tokens}}}
if isinstance(ASKED, str):
    text = model.create_completion(ASKED, **settings)["choices"][0]["text"]
else:
    text = model.create_chat_completion(ASKED, **settings)["choices"][0]["message"]["content"]
print(text)
sys.exit(0 if text.strip() == EXPECTED.strip() else 1)
'''

SCORES = "04_evaluate_pass_at_1@"  # of the stages that scored


def write_ship(folder: Path, file: Path, engine_facts: dict, example: dict, max_new_tokens: int, licence: str) -> Path:
    """Fills `folder` with a link to the file, `Modelfile` and `smoke.py`.

    `engine_facts` has `chat_template` and `ends` (the texts of the tokens that end a turn); `example` has `asked`
    (messages, or the text to go on) and `completion`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    link_file(file, folder / file.name)
    write_text(folder / "Modelfile", modelfile(file.name, engine_facts, max_new_tokens, licence))
    values = {"file": file.name, "asked": example["asked"], "expected": example["completion"]}
    script = SMOKE.format(
        **{name: json.dumps(value, ensure_ascii=False) for name, value in values.items()},
        context=max(512, 8 * max_new_tokens + 2 * len(json.dumps(example["asked"]))),
        max_new_tokens=max_new_tokens,
    )
    write_text(folder / "smoke.py", script)
    return folder


def modelfile(name: str, facts: dict, max_new_tokens: int, licence: str) -> str:
    """The Modelfile's text. A template other than ChatML is left to Ollama, which reads the one inside the file."""
    lines = [f"FROM ./{name}"]
    if facts["chat_template"] == CHATML:
        lines.append(f'TEMPLATE """{OLLAMA_CHATML}"""')
    else:
        lines.append(
            "# no TEMPLATE: Ollama takes the chat template inside the file; compare a prompt before you trust it"
        )
    lines += [f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}" for end in facts["ends"]]
    lines.append("PARAMETER temperature 0")
    lines.append(f"PARAMETER num_predict {max_new_tokens}")
    lines += [f'LICENSE """{licence}"""'] if licence else []
    return "\n".join(lines) + "\n"


def example_of(folder: Path, problems, style: str = "chat", instruction: str = "") -> dict:
    """The first dev problem that the file solved, as it was asked, with its answer; the first of all where it solved
    none.
    """
    passed = {row["task_id"] for row in read_jsonl(folder / "score" / "scores.jsonl") if row["passed"]}
    by_task = {problem["task_id"]: problem for problem in problems.problems}
    rows = read_jsonl(folder / "completions.jsonl")
    row = next((row for row in rows if row["task_id"] in passed), rows[0])
    asked = messages(by_task[row["task_id"]], "raw" if style == "raw" else "chat", instruction)
    return {"asked": asked, "completion": row["completion"]}


SMOKE_SECONDS = 600  # for the script to load the file and to answer
# Gives this process a network of its own without any interface, then becomes the command; Linux only.
CANNOT_CUT = 77
WITHOUT_NETWORK = f"""
import os, sys
try:
    from tunebook.execution import linux
    try:
        linux.unshare(linux.NEWNET)
    except OSError:
        linux.unshare(linux.NEWUSER | linux.NEWNET)
except Exception:
    sys.exit({CANNOT_CUT})
os.execv(sys.argv[1], sys.argv[1:])
"""


def try_smoke(folder: Path) -> tuple[bool, str, bool | None]:
    """Runs the script as a person would, without a network where this machine can cut it off: whether the answer is the
    recorded one, what it said, and whether it answered at all without a network (None: there was one).
    """
    command, is_cut = [sys.executable, str(folder / "smoke.py")], True
    try:
        done = _run([command[0], "-c", WITHOUT_NETWORK, *command])
        is_cut = done.returncode != CANNOT_CUT
        done = done if is_cut else _run(command)
    except subprocess.TimeoutExpired:
        return False, f"no answer within {SMOKE_SECONDS} s", False if is_cut else None
    said = done.stdout.strip() or (done.stderr.strip().splitlines() or [""])[-1]
    return done.returncode == 0, said, bool(done.stdout.strip()) if is_cut else None


def _run(command: list[str]):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SMOKE_SECONDS, check=False)


def finish_ship(context, verdict: str, reasons: list[str]) -> Path | None:
    """The complete folder in the stage of the verdict: what 05 left, with MODEL_CARD.md. None where 05 left nothing."""
    stages = context.needs()
    export = stages.get("05_export_gguf")
    if export is None or "chosen_file" not in export.metrics:
        return None
    target = context.folder / "ship"
    target.mkdir(parents=True, exist_ok=True)
    for name in (export.metrics["chosen_file"], "Modelfile", "smoke.py"):
        link_file(export.file(f"ship/{name}"), target / name)
    write_text(target / "MODEL_CARD.md", model_card(stages, verdict, reasons))
    return target


def link_file(source: Path, target: Path) -> None:
    """The same bytes under a second name; a copy where the disk has no hard links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def model_card(stages: dict, verdict: str = "", reasons: list[str] = ()) -> str:
    """MODEL_CARD.md as text, with the YAML header that the Hub reads. `stages` maps stage names to finished stages with
    `metrics` and `manifest`, as `context.needs()` does.

    What a run did not measure is said to be unmeasured.
    """
    from huggingface_hub import ModelCard

    export = stages["05_export_gguf"]
    name, params = export.metrics["chosen_file"], export.manifest["params"]
    parts = ["---", _header(stages, export, name), "---", "", f"# {name}", ""]
    if verdict:
        parts += [f"Verdict of the study: **{verdict}**.", "", *[f"- {_plain(reason)}" for reason in reasons], ""]
    parts += ["## What it is", "", *_origin(stages, export, params), ""]
    parts += ["## Scores", "", *_scores(stages), ""]
    parts += ["## What it forgot", "", *_forgotten(stages), ""]
    parts += ["## Is the file the model that was measured", "", *_parity(export), ""]
    parts += ["## Files", "", *_files(export, name), ""]
    return str(ModelCard("\n".join(parts)))


def _header(stages: dict, export, name: str) -> str:
    """What the Hub reads: base model, licence and the scores of the file, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    base = (export.manifest["external"] or [{}])[0].get("repo", "")
    scores = stages[f"{SCORES}gguf"].metrics["scores"] if f"{SCORES}gguf" in stages else {}
    results = [
        EvalResult("text-generation", benchmark, benchmark, "pass@1", round(100 * row["pass_at_1"], 1))
        for benchmark, row in scores.items()
    ]
    facts = {"model_name": name, "eval_results": results} if results else {}
    licence = export.metrics.get("licence") or None
    data = ModelCardData(
        base_model=base or None, license=licence, pipeline_tag="text-generation", tags=["gguf"], **facts
    )
    return data.to_yaml()


def _origin(stages: dict, export, params: dict) -> list[str]:
    base = (export.manifest["external"] or [{}])[0]
    licence = export.metrics.get("licence") or "not recorded"
    sft = stages.get("02_train_sft")
    is_full = sft is not None and sft.manifest["params"].get("method") == "full"
    trained = "all of them trained" if is_full else "the adapter merged into the base"
    lines = [
        (
            f"- Base model: {_plain(base.get('repo', '?'))}, revision {_plain(base.get('revision', '?'))}, sha256 of"
            f" its weights {base.get('sha256', '?')}; its licence: {_plain(licence)}."
        ),
        (
            f"- Weights: those of {_plain(export.metrics.get('adapter', '?'))}, {trained}; chat template"
            f" `{params.get('chat_template')}`."
        ),
    ]
    data = stages.get("01_validate_data")
    if data:
        counts = data.metrics["counts"]
        own = data.manifest["params"].get("rows")
        source = (
            f"rows of the user ({_plain(own)}), whose licence is not recorded" if own else "made by the kit from a seed"
        )
        lines.append(
            f"- Data: {_plain(data.metrics.get('task', ''))}, {counts['train']} training rows, {source}; choices were"
            f" made on {counts['dev_problems']} dev problems, scores are of {counts['test_problems']} test problems."
        )
    for stage, keys in (
        ("02_train_sft", ("method", "lora_rank", "lora_alpha", "learning_rate", "epochs", "batch_size")),
        ("03_train_dpo", ("preference", "beta", "learning_rate")),
        ("08_train_grpo", ("grpo_loss", "grpo_rate", "steps", "kept")),
        ("09_recover", ("recover_from", "kept")),
    ):
        found = stages.get(stage)
        if found:
            told = found.manifest["params"] | found.metrics  # a method's own beta is a result
            keys = [key for key in keys if not (told.get("method") == "full" and key.startswith("lora"))]
            used = ", ".join(f"{key} {told[key]}" for key in keys if key in told)
            lines.append(f"- {stage}: {used}.")
    return lines


def _scores(stages: dict) -> list[str]:
    lines = ["| model | benchmark | solved | pass@1 | 95% interval |", "|---|---|---|---|---|"]
    for stage, found in stages.items():
        for benchmark, row in found.metrics["scores"].items() if stage.startswith(SCORES) else ():
            low, high = row["interval"]
            lines.append(
                f"| {stage.removeprefix(SCORES)} | {_plain(benchmark)} | {row['k']}/{row['n']} |"
                f" {100 * row['pass_at_1']:.1f} | {100 * low:.1f} to {100 * high:.1f} |"
            )
    return lines if len(lines) > 2 else ["No score was recorded."]


def _forgotten(stages: dict) -> list[str]:
    scores = {
        stage.removeprefix(SCORES): found.metrics["scores"]
        for stage, found in stages.items()
        if stage.startswith(SCORES)
    }
    lines = []
    for benchmark, before in scores.get("base", {}).items():
        for model, rows in scores.items():
            if benchmark != "task" and model != "base" and benchmark in rows:
                after = rows[benchmark]
                lines.append(
                    f"- {_plain(benchmark)}: base {before['k']}/{before['n']}, {model} {after['k']}/{after['n']}."
                )
    return lines or ["Nothing was asked that the model could have forgotten."]


def _parity(export) -> list[str]:
    lines = [
        f"- {_plain(check['name'])}: {_plain(check['measured'])} (rule: {_plain(check['rule'])})"
        for check in export.manifest["checks"]
    ]
    lines += ["", "| type | bytes | solved on dev | against the trained model |", "|---|---|---|---|"]
    for row in export.metrics["types"]:
        lines.append(f"| {row['type']} | {row['bytes']} | {row['k']}/{row['n']} | {_plain(row['why'])} |")
    return lines


def _files(export, name: str) -> list[str]:
    found = [
        row for row in export.manifest["files"] if row["path"].rpartition("/")[2] in (name, "Modelfile", "smoke.py")
    ]
    return [
        f"- `{row['path'].rpartition('/')[2]}`: {row['bytes']} bytes, sha256 {row['sha256']}"
        for row in found
        if row["path"].startswith("ship/")
    ]


def _plain(value) -> str:
    """Text that Markdown shows as it is."""
    text = " ".join(str(value).split())
    for mark in "\\`*_|[]<>":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text
