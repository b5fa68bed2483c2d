"""The model card, written from the records of a run. Does not decide, and holds no number that a stage did not measure."""

from __future__ import annotations

SCORES = "04_evaluate_pass_at_1@"


def model_card(stages: dict, verdict: str = "", reasons: list[str] = ()) -> str:
    """MODEL_CARD.md as text. `stages` maps stage names to finished stages with `metrics` and `manifest`, as `context.needs()` does.

    What a run did not measure is said to be unmeasured.
    """
    export = stages["05_export_gguf"]
    name, params = export.metrics["chosen_file"], export.manifest["params"]
    parts = [f"# {name}", ""]
    if verdict:
        parts += [f"Verdict of the study: **{verdict}**.", "", *[f"- {_plain(reason)}" for reason in reasons], ""]
    parts += ["## What it is", "", *_origin(stages, export, params), ""]
    parts += ["## Scores", "", *_scores(stages), ""]
    parts += ["## What it forgot", "", *_forgotten(stages), ""]
    parts += ["## Is the file the model that was measured", "", *_parity(export), ""]
    parts += ["## Files", "", *_files(export, name), ""]
    return "\n".join(parts)


def _origin(stages: dict, export, params: dict) -> list[str]:
    base = (export.manifest["external"] or [{}])[0]
    licence = export.metrics.get("licence") or "not recorded"
    lines = [
        f"- Base model: {_plain(base.get('repo', '?'))}, revision {_plain(base.get('revision', '?'))}, sha256 of its weights "
        f"{base.get('sha256', '?')}; its licence: {_plain(licence)}.",
        f"- Weights: the {_plain(export.metrics.get('adapter', '?'))} adapter, merged; chat template `{params.get('chat_template')}`.",
    ]
    data = stages.get("01_validate_data")
    if data:
        counts = data.metrics["counts"]
        own = data.manifest["params"].get("rows")
        source = (
            f"rows of the user ({_plain(own)}), whose licence is not recorded" if own else "made by the kit from a seed"
        )
        lines.append(
            f"- Data: {_plain(data.metrics.get('task', ''))}, {counts['train']} training rows, {source}; choices were made on "
            f"{counts['dev_problems']} dev problems, scores are of {counts['test_problems']} test problems."
        )
    for stage, keys in (
        ("02_train_sft", ("lora_rank", "lora_alpha", "learning_rate", "epochs", "batch_size")),
        ("03_train_dpo", ("preference", "beta", "learning_rate")),
    ):
        found = stages.get(stage)
        if found:
            told = found.manifest["params"] | found.metrics  # a method's own beta is a result
            used = ", ".join(f"{key} {told[key]}" for key in keys if key in told)
            lines.append(f"- {stage}: {used}.")
    return lines


def _scores(stages: dict) -> list[str]:
    lines = ["| model | benchmark | solved | pass@1 | 95% interval |", "|---|---|---|---|---|"]
    for stage, found in stages.items():
        for benchmark, row in found.metrics["scores"].items() if stage.startswith(SCORES) else ():
            low, high = row["interval"]
            lines.append(
                f"| {stage.removeprefix(SCORES)} | {_plain(benchmark)} | {row['k']}/{row['n']} | {100 * row['pass_at_1']:.1f} "
                f"| {100 * low:.1f} to {100 * high:.1f} |"
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
