"""The words and tables of the verdict's page. Does not decide, and does not render HTML."""

from __future__ import annotations

MEANING = {
    "GO": "The gain is larger than chance and nothing that was gated got worse. Ship this file.",
    "NO-GO": "Do not ship this file; the reasons say why.",
    "INCONCLUSIVE": "The evidence does not decide. The reasons say what is missing.",
}


def headline(outcome: dict) -> str:
    """The verdict and its reasons as Markdown; text from models never gets in here."""
    lines = [f"# {outcome['verdict']}", "", MEANING[outcome["verdict"]], ""]
    lines += [f"- {_escaped(reason)}" for reason in outcome["reasons"]]
    lines += [
        "",
        "This verdict is about this file: one seed was trained, so the spread between trainings is not known.",
    ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text


def comparison_rows(outcome: dict) -> list[dict]:
    """Every trained model against base, and what was forgotten, one row each; differences in points."""
    rows = [
        {
            "question": "gain",
            "model": row["model"],
            "benchmark": "task",
            "base": f"{row['k_a']}/{row['n']}",
            "now": f"{row['k_b']}/{row['n']}",
            "points": round(row["difference"], 1),
            "interval": f"[{row['interval'][0]:+.1f}, {row['interval'][1]:+.1f}]",
            "gained": row["gained"],
            "lost": row["lost"],
            "p_exact": f"{row['p_exact']:.2g}",
            "p_holm": f"{row['p_holm']:.2g}",
            "verdict": row["verdict"],
        }
        for row in outcome["gains"]
    ]
    rows += [
        {
            "question": "forgetting" + (" (gate)" if row["gated"] else ""),
            "model": row["model"],
            "benchmark": row["benchmark"],
            "base": f"{row['k_a']}/{row['n']}",
            "now": f"{row['k_b']}/{row['n']}",
            "points": round(row["difference"], 1),
            "interval": f"[{row['lower']:+.1f}, {row['upper']:+.1f}]",
            "verdict": row["verdict"],
        }
        for row in outcome["retentions"]
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key, "") for key in columns} for row in rows] or [{"question": "nothing was compared"}]


def stage_rows(context) -> list[dict]:
    """What each stage said, how long it took and how much memory it needed."""
    rows = []
    for name, stage in context.needs().items():
        peak = stage.manifest["peak_memory_bytes"]
        rows.append(
            {
                "stage": name,
                "status": stage.status,
                "seconds": round(stage.manifest["timing"]["seconds"], 1),
                "peak memory (MiB)": round(peak / 2**20) if peak else None,
                "device": f"{stage.manifest['environment'].get('device')}, {stage.manifest['environment'].get('dtype')}",
                "warnings": "; ".join(
                    f"{check['name']}: {check['measured']}"
                    for check in stage.manifest["checks"]
                    if not check["ok"] and check["severity"] != "info"
                ),
            }
        )
    return rows
