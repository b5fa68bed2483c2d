"""Everything that the verdict's page says, as one plain dict: report.json. Does not decide, and does not render HTML
(see `page`).
"""

from __future__ import annotations

from tunebook.decision import gates
from tunebook.decision import gather as rooms
from tunebook.decision.comparisons import kept_of, score_table
from tunebook.decision.economics import Prices, break_even, per_correct_answer, sweep
from tunebook.decision.gather import Evidence
from tunebook.decision.hinges import hinges
from tunebook.decision.spec import LIMITS, read_frozen, was_frozen_first
from tunebook.decision.verdict import loss_words, shown_losses
from tunebook.evaluation.forgetting import bits_per_byte
from tunebook.files import read_csv, read_json, read_jsonl
from tunebook.pipeline import ledger, runs
from tunebook.statistics.compare import GO, NO_GO

HOSTED_CALLS = "ladder/hosted/calls.jsonl"  # what the hosted rung's answers took, in tokens
SHOWN, CHARACTERS = 12, 600  # problems of each change in report.json, characters of a text
ONE_SEED = (
    "This verdict is about this file: one seed was trained, so how much another training would differ is not known"
    " (seeds: 3 would say)."
)


def build_report(context, evidence: Evidence, outcome: dict, seed: int) -> dict:
    """The report: what `decide` found and everything around it, each part with the file in the run that it came from.

    `ledger` and `stages` depend on the clock and on other runs, so the file is outside the content hash.
    """
    found = context.needs()
    spec_stage = found[rooms.SPEC_STAGE]
    spec, digest = read_frozen(spec_stage.file("spec.json"))
    rungs = [{key: value for key, value in rung.items() if key != "scores"} for rung in evidence.rungs]
    costs = economics(found, outcome, seed)
    started = [s.manifest["timing"]["started_at"] for name, s in found.items() if name[:2] in ("02", "03", "04")]
    return {
        "run": context.run_folder.name,
        **outcome,
        "meaning": meaning(outcome),
        "balance": balance(outcome),
        "note": ONE_SEED if outcome["gains"] and not outcome["trainings"] else "",
        "sources": sources(found, outcome),
        "hinges": hinges(outcome, rungs, spec),
        "scores": score_table(evidence),
        "ladder": rungs,
        "ladder_costs": _costs(spec_stage),
        "search": (spec_stage.manifest.get("costs") or {}).get("search", {}).get("line", ""),
        "kept": kept_rows(found),
        "checkpoints": found["02_train_sft"].metrics.get("checkpoints", []) if "02_train_sft" in found else [],
        "answers": answers(found, outcome),
        "gates": gates.in_order([*all_gates(context, outcome), gates.volume_gate(spec, costs)]),
        "override": spec_stage.metrics.get("override", ""),
        "economics": costs,
        "spec": spec,
        "spec_sha256": digest,
        "frozen_before_training": was_frozen_first(context.run_folder, digest, started),
        "stages": stage_rows(context),
        "ledger": ledger_rows(context, found),
        "environment": next(iter(found.values())).manifest["environment"],
    }


def sources(found: dict, outcome: dict) -> dict[str, str]:
    """Where the figures of a reason stand, by what the reason is about: paths inside the run folder."""
    shipped = f"{rooms.SCORE_STAGE}@{outcome['shipped']}"
    known = {
        "gain": f"{shipped}/scores/task/metrics.json",
        "slices": f"{shipped}/scores/task/metrics.json",
        "file": f"{shipped}/scores/task/metrics.json",
        "trainings": "06_verdict/report.json",
        **dict.fromkeys(LIMITS, "05_export_gguf/manifest.json"),
        "rung zero_shot": f"{rooms.SCORE_STAGE}@base/scores/task/metrics.json",
    }
    for target, stage in rooms.scored(found).items():
        for name in stage.metrics["scores"]:
            known[f"{target} {name}"] = f"{stage.name}/scores/{name}/metrics.json"
        known[f"{target} bits_per_byte"] = f"{stage.name}/forgetting.json"
    for row in kept_of(outcome, (outcome["shipped"], outcome["weights"])):
        known[row["benchmark"]] = known.get(f"{row['model']} {row['benchmark']}", "")
    for rung in found[rooms.SPEC_STAGE].metrics["rungs"]:
        known[f"rung {rung['rung']}"] = f"{rooms.SPEC_STAGE}/ladder/{rung['rung']}/score/metrics.json"
    return known | {name: f"{name}/manifest.json" for name in found}


def kept_rows(found: dict) -> list[dict]:
    """What is left beside the task, a row a model: bits per byte and the distance from base."""
    rows = []
    for target, stage in rooms.scored(found).items():
        kept = rooms.forgetting_of(stage)
        if kept.get("documents"):
            distance = kept.get("kl") or {}
            rows.append(
                {
                    "model": target,
                    "bits_per_byte": round(bits_per_byte(kept), 4),
                    "kl_nats_per_token": distance.get("nats_per_token"),
                    "kl_nats_per_answer": distance.get("nats_per_answer"),
                    "source": f"{stage.name}/forgetting.json",
                }
            )
    return rows


def answers(found: dict, outcome: dict) -> list[dict]:
    """Gained and lost problems of the model that ships, with both answers."""
    gain = next((row for row in outcome["gains"] if row["model"] == outcome["shipped"]), None)
    if gain is None:
        return []
    before, after = rooms.completions(found, "base"), rooms.completions(found, outcome["shipped"])
    return side_by_side(gain, rooms.test_problems(found), before, after)


def all_gates(context, outcome: dict) -> list[dict]:
    """The gates of 00 and of every later phase."""
    found, states = context.needs(), context.run_state()
    rows = [
        {**row, "source": f"{rooms.SPEC_STAGE}/{row['source']}"}
        for row in found[rooms.SPEC_STAGE].metrics.get("gates", [])
    ]
    data, name = found.get(rooms.DATA_STAGE), rooms.DATA_STAGE
    findings = data.rows("findings") if data and rooms.has_file(data, "findings.jsonl") else []
    for phase, words in zip(gates.PHASES[1:3], gates.ABOUT) if name in context.stages else ():
        rows.append(gates.data_gate(phase, words, data, states.get(name, {}).get("state", ""), findings))
    name, words = "05_export_gguf", "the file is the model that was measured"
    if name in context.stages:
        state = states.get(name, {}).get("state", "")
        rows.append(gates.stage_gate(gates.PHASES[5], words, found.get(name), state, "every check of 05 holds"))
    learned = next((row | {"part": "test"} for row in outcome["gains"] if row["model"] == "sft"), None)
    trained = found.get("02_train_sft")
    method = trained.manifest["params"].get("method", "lora") if trained else "no training"
    for name, words, compared in (
        ("02_train_sft", f"it learns from demonstrations ({method})", learned),
        ("03_train_dpo", "preferences help further", rooms.preferred_on_dev(found.get("03_train_dpo"))),
    ):
        if name in context.stages:
            state = states.get(name, {}).get("state", "")
            rows.append(gates.progress_gate(words, found.get(name), state, compared))
    for name, judged, seen in (
        ("08_train_grpo", gates.reward_gate, (rooms.reinforced(found),)),
        ("09_recover", gates.recovery_gate, (outcome,)),
        ("10_distil", gates.teacher_gate, ()),
        ("11_label", gates.labels_gate, ()),
    ):
        if name in context.stages:
            rows.append(judged(found.get(name), states.get(name, {}).get("state", ""), *seen))
    text = outcome["reasons"][0] if outcome["reasons"] else "nothing was compared"
    name = "the gain is real and nothing gated was lost"
    last = gates.gate(gates.PHASES[4], name, outcome["verdict"], text, "the frozen rules", "report.json")
    return [*rows, last]


def economics(found: dict, outcome: dict, seed: int) -> dict:
    """Cost of a right answer, and the break-even with its sweep; {} where no call was recorded."""
    target = outcome["shipped"] if rooms.calls(found, outcome["shipped"]) else outcome["weights"]
    rows = rooms.calls(found, target)
    stage = found[rooms.SPEC_STAGE]
    if not rows or not rooms.has_file(stage, "prices.json"):
        return {}
    prices = Prices(**read_json(stage.file("prices.json")))
    rate = rooms.scored(found)[target].metrics["scores"][rooms.TASK]["pass_at_1"]
    seconds = sum(one.manifest["timing"]["seconds"] for one in found.values())
    hosted = read_jsonl(stage.file(HOSTED_CALLS)) if rooms.has_file(stage, HOSTED_CALLS) else []
    swept = sweep(rows, prices, seconds, rate, seed, hosted) if rate else []
    return {
        "model": target,
        "prices": vars(prices),
        "missing": prices.missing(),
        "machine_seconds": round(seconds, 1),
        "per_correct_answer": per_correct_answer(rows, prices, rate),
        "break_even": None if prices.missing() else break_even(rows, prices, seconds, rate, seed, hosted),
        "sweep": swept,
        "source": f"{rooms.SCORE_STAGE}@{target}/calls.jsonl",
    }


def ledger_rows(context, found: dict) -> dict:
    """How many runs in the ledger opened this run's test split before, and how many runs this study has had. This
    run itself gets its line when it ends, so it is not among them.
    """
    entries, torn = ledger.read_ledger(runs.outputs_root(context.root))
    base = rooms.scored(found).get("base")
    sha = base.metrics["scores"][rooms.TASK]["benchmark_sha256"] if base else ""
    study = context.run_record().get("study", {}).get("name", "")
    return {
        "test_split": sha,
        "opened_before": ledger.times_opened(entries)[sha] if sha else 0,
        "runs_of_this_study": sum(entry.get("study") == study for entry in entries),
        "runs": len(entries),
        "unreadable_lines": torn,
    }


def _costs(stage) -> list[dict]:
    path = "tables/ladder_costs.csv"
    return read_csv(stage.file(path)) if rooms.has_file(stage, path) else []


def side_by_side(
    gain: dict, problems: list[dict], before: list[dict], after: list[dict], shown: int = SHOWN
) -> list[dict]:
    """Rows `change, task_id, slice, prompt, expected, before, after`: lost problems first, at most `shown` of each
    change.

    `gain` is a row of `gain_comparisons`; `before` and `after` are completions. The first sample of a problem is
    shown.
    """
    texts = [_first_samples(rows) for rows in (before, after)]
    known = {problem["task_id"]: problem for problem in problems}
    rows = []
    for change, tasks in (("lost", gain["lost_tasks"]), ("gained", gain["gained_tasks"])):
        for task in tasks[:shown]:
            problem = known.get(task, {})
            rows.append(
                {
                    "change": change,
                    "task_id": task,
                    "slice": problem.get("slice", ""),
                    "prompt": _cut(problem.get("prompt", "")),
                    "expected": _cut(problem.get("canonical_solution", "")),
                    "before": _cut(texts[0].get(task, "")),
                    "after": _cut(texts[1].get(task, "")),
                }
            )
    return rows


def _first_samples(rows: list[dict]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        found.setdefault(row["task_id"], row["completion"])
    return found


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else text[:CHARACTERS] + "…"


def meaning(outcome: dict) -> str:
    """The verdict in one sentence that needs no statistics, and every shown loss by name: a GO never hides that
    something got worse.
    """
    shipped, word = outcome["shipped"], outcome["verdict"]
    plain = [text for text, vote in zip(outcome["plain"], outcome["words"]) if vote == word]
    if word == NO_GO and not any(row["model"] == shipped for row in outcome["gains"]):
        return f"Do not train: {'; '.join(plain)}."
    start = {GO: f"Ship {shipped}", NO_GO: f"Do not ship {shipped}"}.get(
        word, f"Whether {shipped} should ship is not decided"
    )
    text = f"{start}: {'; '.join(plain) or 'no reason was found against it'}."
    losses = [words for words in map(loss_words, shown_losses(outcome)) if words not in plain]
    if losses:
        return f"{text} Something got worse: {'; '.join(losses)}."
    return text + (" Of what was measured, nothing is shown to have got worse." if word == GO else "")


def balance(outcome: dict) -> dict[str, list[str]]:
    """`gained` and `lost` beside each other: sentences about what is shown, each with its figures."""
    gained = [
        f"{row['k_b'] - row['k_a']:+d} of {row['n'] * row['samples']} test problems against {row['against']}"
        f" ({row['difference']:+.1f} points)"
        for row in outcome["gains"] + outcome["rungs"]
        if row["model"] == outcome["shipped"] and row["verdict"] == GO
    ]
    better = [row for row in kept_of(outcome, (outcome["shipped"], outcome["weights"])) if row.get("shown") == "better"]
    gained += [f"{row['benchmark']}: {row['k_a']} → {row['k_b']} of {row['n'] * row['samples']}" for row in better]
    return {"gained": gained, "lost": [loss_words(row) for row in shown_losses(outcome)]}


def headline(outcome: dict) -> str:
    """The verdict and its reasons as Markdown; text from models never gets in here."""
    lines = [f"# {outcome['verdict']}", "", meaning(outcome), ""]
    lines += [f"- {_escaped(reason)}" for reason in outcome["reasons"]]
    return "\n".join([*lines, "", *([ONE_SEED] if outcome["gains"] and not outcome["trainings"] else [])])


def _escaped(text: str) -> str:
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text


def comparison_rows(outcome: dict) -> list[dict]:
    """Every comparison of the verdict, one row each; differences in points, those of bits per byte in percent; `p_holm`
    is the p that decided where the model ships (over base and the best prompt), else Holm's over the models.
    """
    rows = []
    for question, found in (("gain", outcome["gains"]), ("gain over a prompt", outcome["rungs"])):
        for row in found:
            rows.append(
                {
                    **_pair(row, question, row["against"]),
                    "interval": f"[{row['interval'][0]:+.1f}, {row['interval'][1]:+.1f}]",
                    "gained": row["gained"],
                    "lost": row["lost"],
                    "p_exact": f"{row['p_exact']:.2g}",
                    "p_holm": f"{row.get('p_decides', row['p_holm']):.2g}",
                    "verdict": row["verdict"],
                }
            )
    rows += _over_trainings(outcome.get("trainings"))
    further = outcome["kept_by_trainings"]
    kept = outcome["retentions"] + [row for row in further if "rise" not in row]
    for row in [*kept, outcome["file"]] if outcome["file"] else kept:
        question = "exported file" if "against" in row else _forgetting(row)
        interval = f"[{row['lower']:+.1f}, {row['upper']:+.1f}]"
        rows.append(
            {**_pair(row, question, row.get("against", "base")), "interval": interval, "verdict": row["verdict"]}
        )
    for row in outcome["bits"] + [row for row in further if "rise" in row]:
        low, high = row["lower"], row["upper"]
        rows.append(
            {
                "question": _forgetting(row),
                "model": row["model"],
                "against": "base",
                "benchmark": row["benchmark"],
                "before": f"{row['before']:.3f}",
                "now": f"{row['after']:.3f}",
                "difference": f"{row['rise']:+.1f}%",
                "interval": "" if low is None else f"[{low:+.1f}, {high:+.1f}]",
                "verdict": row["verdict"],
            }
        )
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "verdict"] + ["verdict"]
    return [{key: row.get(key, "") for key in columns} for row in rows] or [{"question": "nothing was compared"}]


def _forgetting(row: dict) -> str:
    which = f"forgetting, training {row['training']}" if "training" in row else "forgetting"
    return which + (" (gate)" if row["gated"] else "")


def _over_trainings(row: dict | None) -> list[dict]:
    if row is None:
        return []
    low, high = row["interval"]
    question = f"gain of another training ({row['trainings']} trainings)"
    shown = {"question": question, "model": row["model"], "against": row["against"], "benchmark": "task"}
    shown |= {"difference": f"{row['difference']:+.1f}", "interval": f"[{low:+.1f}, {high:+.1f}]"}
    return [shown | {"p_exact": f"{row['p_exact']:.2g}", "verdict": row["verdict"]}]


def _pair(row: dict, question: str, against: str) -> dict:
    n = row["n"] * row["samples"]
    return {
        "question": question,
        "model": row["model"],
        "against": against,
        "benchmark": row.get("benchmark", "task"),
        "before": f"{row['k_a']}/{n}",
        "now": f"{row['k_b']}/{n}",
        "difference": f"{row['difference']:+.1f}",
    }


def stage_rows(context) -> list[dict]:
    """What each stage said, how long it took, how much memory it needed, and the processor's energy where it was
    measured.
    """
    rows = []
    for name, stage in context.needs().items():
        peak, joules = stage.manifest["peak_memory_bytes"], stage.manifest.get("energy_joules")
        rows.append(
            {
                "stage": name,
                "status": stage.status,
                "seconds": round(stage.manifest["timing"]["seconds"], 1),
                "peak memory (MiB)": round(peak / 2**20) if peak else None,
                "energy (kJ)": None if joules is None else round(joules / 1000, 1),
                "training: forecast, actual": _forecast(stage.manifest.get("costs") or {}),
                "device": (
                    f"{stage.manifest['environment'].get('device')}, {stage.manifest['environment'].get('dtype')}"
                ),
                "warnings": "; ".join(
                    f"{check['name']}: {check['measured']}"
                    for check in stage.manifest["checks"]
                    if not check["ok"] and check["severity"] != "info"
                ),
            }
        )
    for column in ("energy (kJ)", "training: forecast, actual"):
        if all(row[column] is None for row in rows):
            for row in rows:
                del row[column]
    return rows


def _forecast(costs: dict) -> str | None:
    """What the pilot of a training said of its time and memory, and what both were; None for another stage."""
    said = {row["what"]: row for row in costs.get("forecast_beside_actual", [])}
    if not said:
        return None
    time, memory = said["time (minutes)"], said["memory (GiB)"]
    return (
        f"{time['forecast']:.1f} min ({time['low']:.1f} to {time['high']:.1f}), {time['actual']:.1f};"
        f" {memory['forecast']:.2f} GiB, {memory['actual']:.2f}"
    )
