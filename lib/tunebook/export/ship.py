"""The folder that is given away: the chosen GGUF, an Ollama Modelfile, a script that tries it, and, last, the model card.

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
from tunebook.export.card import model_card
from tunebook.files import read_jsonl, write_text
from tunebook.models.templates import CHATML

# ChatML in the language of Ollama's templates (Go's text/template)
OLLAMA_CHATML = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
SMOKE = '''"""Loads the file beside this script with llama-cpp-python and asks it one question; exit 0 when the answer is the recorded one."""

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


def write_ship(folder: Path, file: Path, engine_facts: dict, example: dict, max_new_tokens: int, licence: str) -> Path:
    """Fills `folder` with a link to the file, `Modelfile` and `smoke.py`.

    `engine_facts` has `chat_template` and `ends` (the texts of the tokens that end a turn); `example` has `asked` (messages, or the
    text to go on) and `completion`.
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
    """The first dev problem that the file solved, as it was asked, with its answer; the first of all where it solved none."""
    passed = {row["task_id"] for row in read_jsonl(folder / "score" / "scores.jsonl") if row["passed"]}
    by_task = {problem["task_id"]: problem for problem in problems.problems}
    rows = read_jsonl(folder / "completions.jsonl")
    row = next((row for row in rows if row["task_id"] in passed), rows[0])
    asked = messages(by_task[row["task_id"]], "raw" if style == "raw" else "chat", instruction)
    return {"asked": asked, "completion": row["completion"]}


def try_smoke(folder: Path) -> tuple[bool, str]:
    """Runs the script as a person would: whether the answer is the recorded one, and what it said."""
    command = [sys.executable, str(folder / "smoke.py")]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, check=False)
    said = done.stdout.strip() or (done.stderr.strip().splitlines() or [""])[-1]
    return done.returncode == 0, said


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
