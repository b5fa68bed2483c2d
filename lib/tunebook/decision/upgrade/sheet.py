"""What an upgrade found, for a terminal and as one page: upgrade.html, the look and the pieces of a run's report."""

from __future__ import annotations

from pathlib import Path

from tunebook.decision.economics import DAYS_A_MONTH
from tunebook.decision.page import table, templates
from tunebook.decision.upgrade.answer import HOSTED, RETIRE
from tunebook.files import write_text
from tunebook.statistics.compare import GO, NO_GO
from tunebook.terminal import aligned, escaped

TEMPLATE = "upgrade.html.jinja"


def text_of(report: dict) -> str:
    """The answer, its reasons and its tables as text."""
    lines = [report["answer"] + ("" if report["settled"] else " (not settled)"), report["sentence"]]
    lines += [*filter(None, [report["money_line"]]), "", *(f"- {reason}" for reason in report["reasons"])]
    lines += [f"what would settle it: {'; '.join(report['settles'])}"] if report["settles"] else []
    for rows in (score_rows(report), money_rows(report), report["changes"]):
        lines += ["", aligned(rows)] if rows else []
    lines += ["", report["looks_line"], *report["notes"]]
    return "\n".join(escaped(line) for part in lines for line in part.split("\n"))


def write_sheet(report: dict, folder: Path) -> None:
    """Writes upgrade.html at the root of the new run."""
    kind = {"RETIRE": "no-go", "RETRAIN": "open"}.get(report["answer"], "go" if report["settled"] else "open")
    parts = {"scores": score_rows(report), "money": money_rows(report), "changes": report["changes"]}
    tables = {name: table(rows, "|".join(rows[0]), lambda row: "") for name, rows in parts.items() if rows}
    page = templates().get_template(TEMPLATE).render(report=report, kind=kind, tables=tables)
    write_text(folder / "upgrade.html", page + "\n")


def score_rows(report: dict) -> list[dict]:
    """What ships, then every option beside it; points."""
    name, rows = report["shipped"], report["rows"]
    shown = [{"model": f"{name} (ships)", "solved": report["solved"], "score": report["score"]}]
    for row in rows:
        low, high = row["interval"]
        shown.append(
            {
                "model": row["model"],
                "solved": f"{row['k_b']}/{row['n'] * row['samples']}",
                "score": f"{row['low']:.1f} to {row['high']:.1f}",
                "against what ships": f"{row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]",
                "gained": str(row["gained"]),
                "lost": str(row["lost"]),
                "p (Holm)": f"{row['p_decides']:.2g}",
                "meets the specification": "yes" if row["meets_spec"] else "no",
                "better than what ships": {GO: "yes", NO_GO: "no"}.get(row["verdict"], "not shown"),
            }
        )
    columns = dict.fromkeys(key for row in reversed(shown) for key in row)
    return [{key: row.get(key, "") for key in columns} for row in shown]


def money_rows(report: dict) -> list[dict]:
    """Money before and now, in the currency of the prices."""
    before, now, calls = report["money"]["before"], report["money"]["now"], report["calls_per_day"]

    def money(key: str, times: float = 1.0):
        return [f"{times * cost[key]:,.4g}" if cost[key] is not None else "not known" for cost in (before, now)]

    def pays(cost: dict) -> str:
        if cost["interval"] is None:
            return "not known"
        ends = " to ".join("never" if end is None else f"{end:,.0f}" for end in cost["interval"])
        return "never" if cost["pays_from"] is None else f"{cost['pays_from']:,.0f} ({ends})"

    lasts = [f"{cost['months']:g} months ({cost['ends']})" for cost in (before, now)]
    back = ["never" if c["a_month"] is not None and c["a_month"] <= 0 else None for c in (before, now)]
    back = [word or months for word, months in zip(back, money("paid_back"))]
    rows = [("1,000 calls of what ships", money("own", 1000))]
    rows += [("1,000 calls of the hosted model", money("hosted", 1000))]
    rows += [(f"saved a month at {calls:,.0f} calls a day", money("a_month"))] if calls else []
    rows += [("one training costs", money("training")), ("and is used for", lasts)]
    rows += [("it pays from, calls a day (95%)", [pays(before), pays(now)])]
    rows += [("it is paid back after, months", back)] if calls else []
    return [{"money": name, "before": was, "now": value} for name, (was, value) in rows]


def money_line(found: dict, cost: dict, calls: float) -> str:
    """What the answer `found` means in money, in one sentence: whether one more training pays, or what a hosted model
    in its place costs; "" where a price or the number of calls is missing.
    """
    if not calls or cost["saved"] is None:
        return ""
    if found["answer"] == RETIRE:
        kinds = {row["kind"] for row in found["rows"] if row["meets_spec"] or row["replaces"]}
        change = f"{abs(cost['a_month']):,.4g} a month {'more' if cost['a_month'] > 0 else 'less'}"
        return f"The hosted model costs {change} at {calls:,.0f} calls a day." if kinds == {HOSTED} else ""
    if cost["saved"][1] <= 0:
        return "Against the hosted model it no longer pays: each call of what ships costs more than a hosted one."
    if cost["training"] is None:
        return ""
    low, total, high = (saved * calls * DAYS_A_MONTH * cost["months"] for saved in cost["saved"])
    word = "pays" if low >= cost["training"] else "does not pay" if high < cost["training"] else "may pay or not"
    return (
        f"One more training {word}: it costs {cost['training']:,.4g} and saves {total:,.4g} ({low:,.4g} to {high:,.4g})"
        f" against the hosted model in the {cost['months']:g} months for which it is used ({cost['ends']}), at"
        f" {calls:,.0f} calls a day."
    )
