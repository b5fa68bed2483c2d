"""The words and tables that the verdict's notebook shows. Does not decide, and does not render HTML."""

from __future__ import annotations

MEANING = {
    "GO": "The gain is larger than chance and nothing that was gated got worse. Ship this file.",
    "NO-GO": "Do not ship this file; the reasons say why.",
    "INCONCLUSIVE": "The evidence does not decide. The reasons say what is missing.",
}
ONE_SEED = "This verdict is about this file: one seed was trained, so the spread between trainings is not known."


PROMPT_IS_ENOUGH = "Prompting alone does what the specification asks: nothing was trained, and nothing needs to be."


def meaning(outcome: dict) -> str:
    """One sentence about what the verdict means here."""
    is_trained = any(row["model"] == outcome["shipped"] for row in outcome["gains"])
    is_answered = any(
        about.startswith("rung") and word == "NO-GO" for about, word in zip(outcome["about"], outcome["words"])
    )
    return PROMPT_IS_ENOUGH if is_answered and not is_trained else MEANING[outcome["verdict"]]


def headline(outcome: dict) -> str:
    """The verdict and its reasons as Markdown; text from models never gets in here."""
    lines = [f"# {outcome['verdict']}", "", meaning(outcome), ""]
    lines += [f"- {_escaped(reason)}" for reason in outcome["reasons"]]
    return "\n".join([*lines, "", *([ONE_SEED] if outcome["gains"] else [])])


def _escaped(text: str) -> str:
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text


def comparison_rows(outcome: dict) -> list[dict]:
    """Every comparison of the verdict, one row each; differences in points, those of bits per byte in percent.

    `p_holm` is the p that decided where the model ships (over base and the best prompt), else Holm's over the models.
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
    kept = outcome["retentions"] + ([outcome["file"]] if outcome["file"] else [])
    for row in kept:
        question = "exported file" if "against" in row else "forgetting" + (" (gate)" if row["gated"] else "")
        interval = f"[{row['lower']:+.1f}, {row['upper']:+.1f}]"
        rows.append(
            {**_pair(row, question, row.get("against", "base")), "interval": interval, "verdict": row["verdict"]}
        )
    for row in outcome["bits"]:
        low, high = row["lower"], row["upper"]
        rows.append(
            {
                "question": "forgetting" + (" (gate)" if row["gated"] else ""),
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
    """What each stage said, how long it took, how much memory it needed, and the processor's energy where it was measured."""
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
                "device": f"{stage.manifest['environment'].get('device')}, {stage.manifest['environment'].get('dtype')}",
                "warnings": "; ".join(
                    f"{check['name']}: {check['measured']}"
                    for check in stage.manifest["checks"]
                    if not check["ok"] and check["severity"] != "info"
                ),
            }
        )
    if all(row["energy (kJ)"] is None for row in rows):
        for row in rows:
            del row["energy (kJ)"]
    return rows
