"""One measurement, from a model to its score: completions under a protocol, judged, in a folder of a stage.

The prompting ladder, choices on dev and notebook 04 all measure through `answer_and_score`. Does not choose a protocol
and does not decide.
"""

from collections.abc import Sequence
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.completions import complete
from tunebook.evaluation.hosted import Hosted, ask_hosted
from tunebook.evaluation.protocol import UNKNOWN, Asking, Protocol
from tunebook.evaluation.score import score
from tunebook.files import hash_json, write_jsonl
from tunebook.terminal import aligned, escaped

KEPT = ".hosted"  # in the run's folder: what a server answered, so that a stage that runs again does not pay again
# what a variant of a protocol may change, and how its text is read; the rest follows from the model and the benchmark
VARIABLE = {
    "prompt_style": str, "instruction": str, "thinking": str,
    "max_new_tokens": int, "temperature": float, "top_p": float, "n_samples": int, "seed": int,
    "answer_reading": str, "code_block": str, "cpu_seconds": float,
}  # fmt: skip


def answer_and_score(
    engine,
    problems: Benchmark,
    folder: Path,
    context,
    examples: Sequence[dict] = (),
    places: tuple[str, str] = ("completions.jsonl", "score"),
    *,
    allow_unisolated: bool = False,
    **fields,
) -> dict:
    """Completions and score of `problems`, at `places` in `folder`; `fields` are those of the Protocol (see `Asking`).

    `examples` are shown only in the style few_shot. A stage that was killed goes on where it stood, and what the same
    weights answered to the same prompts in an earlier stage of the run is taken over. Returns `metrics`, `rows` (the
    completions), `protocol`, and `cost`: seconds, tokens, tokens_per_second and completions `resumed` from before.
    """
    protocol = Protocol(problems.sha256, **{**fields, "stops": tuple(fields.get("stops", ()))})
    shown = examples if protocol.prompt_style == "few_shot" else ()
    done = complete(
        engine, problems, protocol, folder / places[0], shown, context.progress, resume=context.answers_folder
    )
    metrics = score(problems, done["rows"], folder / places[1], done["protocol"], allow_unisolated=allow_unisolated)
    cost = {key: done[key] for key in ("seconds", "tokens", "resumed")}
    cost["tokens_per_second"] = done["tokens"] / done["seconds"]
    return {"metrics": metrics, "rows": done["rows"], "protocol": done["protocol"], "cost": cost}


def ask_and_score(
    hosted: Hosted, problems: Benchmark, folder: Path, context, examples: Sequence[dict] = (), **fields
) -> dict:
    """`answer_and_score` of a model behind a server: within its budget, no answer paid twice. `cost` has seconds (of
    all requests), tokens, and money by the prices of `hosted`.
    """
    allow = fields.pop("allow_unisolated", False)
    protocol = Protocol(problems.sha256, **fields)
    rows = ask_hosted(hosted, problems, protocol, examples, context.run_folder / KEPT, context.progress)
    write_jsonl(folder / "completions.jsonl", rows)
    record = {key: value for key, value in protocol.to_dict().items() if key not in ("benchmark", "stops")}
    record |= dict.fromkeys(("chat_template_sha256", "thinking"), UNKNOWN)  # the server's own affair
    record["examples_sha256"] = hash_json(list(examples)) if examples else ""
    metrics = score(problems, rows, folder / "score", record, allow_unisolated=allow)
    tokens_in, tokens = (sum(row[key] for row in rows) for key in ("input_tokens", "n_tokens"))
    cost = {"seconds": sum(row["seconds"] for row in rows), "tokens": tokens, "money": hosted.cost(tokens_in, tokens)}
    return {"metrics": metrics, "rows": rows, "protocol": protocol, "cost": cost}


def protocol_table(
    engine,
    benchmarks: dict[str, Benchmark],
    asking: Asking,
    variants: Sequence[str],
    examples: Sequence[dict],
    limit: int,
    context,
) -> list[dict]:
    """Scores of one model under its usual protocol and under each of `variants`, on the first `limit` problems (0:
    all).

    A variant names the fields that it changes: "prompt_style=raw" or "thinking=on; max_new_tokens=2048". Returns a row
    a benchmark and protocol: the fields that vary and pass@1 with its interval. Nothing is chosen by it: a choice made
    here would be made on test.
    """
    changes = [{}, *map(read_variant, variants)]
    rows = []
    for name, problems in benchmarks.items() if variants else ():
        found = []
        for at, variant in enumerate(changes):
            if name != "task" and variant.get("prompt_style") == "few_shot":
                continue  # the task's examples are none for another benchmark
            folder = context.folder / "sensitivity" / name / str(at)
            fields = {**asking.fields(name), **variant}
            done = answer_and_score(engine, problems.first(limit), folder, context, examples, **fields)
            found.append((done["protocol"].to_dict(), done["metrics"]))
        rows += [{"benchmark": name, **row} for row in sensitivity(found)]
    return rows


def read_variant(text: str) -> dict:
    """Protocol fields from "field=value; field=value". InputProblem for a field that cannot vary or a value of another
    type.

    >>> read_variant("prompt_style=raw; max_new_tokens=64")
    {'prompt_style': 'raw', 'max_new_tokens': 64}
    """
    fields = {}
    for part in text.split(";"):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in VARIABLE or not equals:
            raise InputProblem(f"sensitivity: {text!r}: write field=value, with one of {', '.join(VARIABLE)}")
        try:
            fields[key] = VARIABLE[key](value)
        except ValueError:
            raise InputProblem(
                f"sensitivity: {text!r}: {key} must be {VARIABLE[key].__name__}, found {value!r}"
            ) from None
    return fields


SHOWN = 8


def rate_text(part: dict) -> str:
    """k/n, percentage and interval of one `rates` dict."""
    low, high = part["interval"]
    return f"{part['k']}/{part['n']} = {part['pass_at_1']:.1%} [{low:.1%}, {high:.1%}]"


def score_line(name: str, part: dict) -> str:
    """One score for a reader: name, k/n, percentage and interval."""
    return f"{name}: {rate_text(part)}, 95% interval"


def score_text(metrics: dict) -> str:
    """What `tunebook score` prints."""
    rows = [
        ("benchmark", f"{metrics['benchmark']} ({metrics['problems']} problems, {metrics['n_samples']} samples each)")
    ]
    rows.append(("pass@1", f"{rate_text(metrics)}  95% interval"))
    rows += [(f"pass@{k}", f"{value:.1%}") for k, value in metrics["pass_at_k"].items() if k != "1"]
    rows += [(f"  {escaped(name)}", rate_text(part)) for name, part in metrics["slices"].items()]
    rows += [(name, f"{count}/{metrics['n']}") for name, count in metrics["taxonomy"].items() if name != "pass"]
    if metrics.get("left_out"):
        rows.append(("left out", ", ".join(map(escaped, metrics["left_out"]))))
    rows.append(("read as", f"answer: {metrics['answer_reading']}, code block: {metrics['code_block']}"))
    rows.append(("isolation", metrics["runner"]["tier_name"]))
    for check in metrics["runner"]["checks"]:
        shown = "ok" if check["ok"] else f"WARNING: {escaped(check['measured'])}, expected {check['rule']}"
        rows.append((f"self-check: {check['name']}", shown))
    return aligned(rows)


def compare_text(result: dict, name_a: str, name_b: str) -> str:
    """What `tunebook compare` prints."""
    low, high = result["interval"]
    samples = result["n"] * result["samples"]
    effect = result["detectable_effect"]
    rows = [
        ("A", f"{result['k_a']}/{samples} = {result['k_a'] / samples:.1%}  {escaped(name_a)}"),
        ("B", f"{result['k_b']}/{samples} = {result['k_b'] / samples:.1%}  {escaped(name_b)}"),
        ("difference", f"{result['difference']:+.1f} points, paired 95% interval [{low:+.1f}, {high:+.1f}]"),
        (
            "problems",
            f"both {result['both']}, gained {result['gained']}, lost {result['lost']}, neither {result['neither']}",
        ),
        ("McNemar", f"exact p = {result['p_exact']:.3g}, mid-p = {result['p_mid']:.3g}"),
        (
            "detectable",
            (
                "no gain can be shown"
                if effect is None
                else f"{effect:.1f} points with 80% power on {result['n']} problems"
            ),
        ),
        ("gained", _names(result["gained_tasks"])),
        ("lost", _names(result["lost_tasks"])),
        ("protocol", result["protocol"]),
        ("rule", result["rule"]),
        ("verdict", result["verdict"]),
    ]
    return aligned(rows)


def power_text(result: dict) -> str:
    """What `tunebook power` prints."""
    problems = f"{result['power']:.0%} (mid-p), {result['power_exact']:.0%} (exact)"
    effect, asked = result["detectable_effect"], result["correlation_asked"]
    cut = "" if result["correlation"] == asked else f" ({asked:g} was asked for, which these rates do not allow)"
    return aligned(
        [
            (
                "to show",
                f"{result['base']:.1%} -> {result['base'] + result['gain']:.1%} with 80% power, two-sided p < 0.05",
            ),
            ("unpaired", f"{result['n_unpaired_per_side']:,} problems a side"),
            ("paired, exact", f"{_problems(result['n_paired_exact'])} at correlation {result['correlation']:.2g}{cut}"),
            ("paired, mid-p", _problems(result["n_paired_mid"])),
            (f"power at {result['problems']:,}", problems),
            (
                f"shown by {result['problems']:,}",
                "no gain" if effect is None else f"a gain of {100 * effect:.1f} points or more",
            ),
        ]
    )


def _problems(count: int | None) -> str:
    return "more than 1,000,000 problems" if count is None else f"{count:,} problems"


def _names(tasks: list[str]) -> str:
    shown = ", ".join(escaped(task) for task in tasks[:SHOWN])
    return f"{shown} and {len(tasks) - SHOWN} more (--json lists all)" if len(tasks) > SHOWN else shown or "none"


def failure_examples(judged: list[dict], rows: list[dict], each: int = 1, characters: int = 240) -> list[dict]:
    """A few failed completions of each verdict: task_id, verdict, detail and text, without a control character.

    For a DataFrame, which escapes HTML when it is shown; `context.table` also keeps `$` from being typeset.
    """
    texts = {(row["task_id"], row["sample"]): row["completion"] for row in rows}
    shown: dict[str, list[dict]] = {}
    for row in judged:
        found = shown.setdefault(row["verdict"], [])
        if row["passed"] or len(found) >= each:
            continue
        text = texts[row["task_id"], row["sample"]]
        cut = text[:characters] + ("…" if len(text) > characters else "")
        found.append({key: escaped(row[key]) for key in ("task_id", "verdict", "detail")})
        found[-1]["completion"] = "\n".join(map(escaped, cut.split("\n")))
    return [example for examples in shown.values() for example in examples]


def sensitivity(results: list[tuple[dict, dict]]) -> list[dict]:
    """One row a (protocol.json, metrics.json) of the same model: the fields that vary (hashes left out), and the
    score.
    """
    names = [name for name in results[0][0] if name != "benchmark" and not name.endswith("sha256")]
    varying = [name for name in names if len({str(protocol.get(name)) for protocol, _ in results}) > 1]
    return [
        {**{name: str(protocol.get(name)) for name in varying}, "pass@1": rate_text(metrics)}
        for protocol, metrics in results
    ]
