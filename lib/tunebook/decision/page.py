"""report.html: one self-contained page from report.json, verdict first, then the evidence, then the record.

No script and no request to anywhere; every text is escaped, model text above all; every figure links to the file it came from. Opens
on a phone and prints. Does not compute.
"""

from __future__ import annotations

from pathlib import Path

from tunebook.decision.answers import cards
from tunebook.decision.markup import esc, figure, link, pictures, table
from tunebook.decision.style import CSS
from tunebook.decision.tables import comparison_rows


def write_page(report: dict, run_folder: Path, figures: list[tuple[str, str]]) -> None:
    """Writes report.html at the root of the run, where its links are relative to. `figures` are (path in the run, caption)."""
    from tunebook.files import write_text

    write_text(run_folder / "report.html", render(report, run_folder, figures))


def render(report: dict, run_folder: Path, figures: list[tuple[str, str]]) -> str:
    """The page as text. A figure whose file is missing is left out."""
    shown = {
        path: figure(run_folder / path, path, caption) for path, caption in figures if (run_folder / path).is_file()
    }
    body = [_verdict(report), _evidence(report, shown), _record(report)]
    title = f"{report['verdict']}: {report['run']}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{esc(title)}</title>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{CSS}</style></head>\n<body><main>\n'
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _verdict(report: dict) -> str:
    kind = {"GO": "go", "NO-GO": "no-go"}.get(report["verdict"], "open")
    order = sorted(range(len(report["reasons"])), key=lambda at: report["words"][at] != report["verdict"])
    reasons = []
    for at in order:
        word = report["words"][at]
        mark = f'<b class="word">{esc(word)}</b> ' if word else ""
        path = report["sources"].get(report["about"][at], "")
        reasons.append(f"<li>{mark}{esc(report['reasons'][at])} {link('file', path) if path else ''}</li>")
    asked = f"should the file {esc(report['shipped'])} ship?" if report["gains"] else "should this task be fine-tuned?"
    times = report["ledger"]
    opened, looks = (link(times[key], "06_verdict/report.json") for key in ("opened_before", "runs_of_this_study"))
    before = f"Earlier runs in the ledger that opened this test split: {opened}; earlier runs of this study: {looks}."
    if times["opened_before"] > 1:
        before += " A p-value supposes one look: the more often a split was opened, the more a small one may be chance."
    return (
        f'<header class="{kind}"><p class="kicker">{esc(report["run"])}: {asked}</p>'
        f"<h1>{esc(report['verdict'])}</h1><p>{esc(report['meaning'])}</p></header>\n"
        f"<section><h2>Why</h2><ul>{''.join(reasons)}</ul><p class=note>{before} {esc(report['note'])}</p>{_override(report)}</section>\n"
        f"<section><h2>What would change this decision</h2><dl class=hinges>{''.join(_hinge(row, report) for row in report['hinges'])}</dl></section>"
    )


def _override(report: dict) -> str:
    return (
        f"<p class=warn>A gate was overridden. Written reason: {esc(report['override'])}</p>"
        if report["override"]
        else ""
    )


def _hinge(row: dict, report: dict) -> str:
    path = report["sources"].get(row["about"], "")
    return f"<div><dt>{link(row['number'], path)}</dt><dd>{esc(row['meaning'])}</dd></div>"


def _evidence(report: dict, shown: dict[str, str]) -> str:
    parts = ["<section><h2>Evidence</h2>", pictures(shown, "scores")]
    scores = [
        {
            **row,
            "pass_at_1": f"{row['pass_at_1']:.1f}",
            "solved": f"{row['k']}/{row['n']}",
            "interval": f"{row['low']:.1f} to {row['high']:.1f}",
        }
        for row in report["scores"]
    ]
    parts.append(
        table(
            "Scores, pass@1 in points with the 95% interval",
            scores,
            ("model", "benchmark", "solved", "pass_at_1", "interval"),
            _by_score(report),
        )
    )
    compared = comparison_rows(report) if report["gains"] or report["retentions"] else []
    columns = tuple(compared[0]) if compared else ()
    parts.append(table("Comparisons, paired by problem or document", compared, columns, _by_comparison(report)))
    slices = [
        {
            **row,
            "difference": f"{row['difference']:+.1f}",
            "base": f"{row['k_a']}/{row['n'] * row['samples']}",
            "now": f"{row['k_b']}/{row['n'] * row['samples']}",
        }
        for row in report["slices"]
    ]
    columns = ("slice", "base", "now", "difference", "gained", "lost", "p_holm", "shown")
    parts.append(
        table(
            "Slices, against base; Holm over the slices",
            slices,
            columns,
            lambda row: report["sources"].get("slices", ""),
        )
    )
    parts.append(cards(report))
    columns = ("model", "bits_per_byte", "kl_nats_per_token", "kl_nats_per_answer")
    parts.append(
        table(
            "Beside the task: general text, and the distance from base on the task's prompts",
            report["kept"],
            columns,
            lambda row: row["source"],
        )
    )
    points = [{**row, "solved": f"{row['k']}/{row['n']}"} for row in report["checkpoints"]]
    parts += [
        pictures(shown, "checkpoints"),
        table(
            "Checkpoints of the training, on dev",
            points,
            ("step", "solved", "bits_per_byte", "rise", "kl", "on_front"),
            lambda row: "02_train_sft/tables/checkpoints.csv",
        ),
    ]
    ladder = [
        {
            **row,
            "solved": f"{row['k']}/{row['n']}",
            "interval": f"{row['low']:.1f} to {row['high']:.1f}" if "low" in row else "",
        }
        for row in report["ladder"]
    ]
    parts += [
        pictures(shown, "ladder"),
        table(
            "The ladder without training",
            ladder,
            ("rung", "solved", "interval", "meets_spec", "rule"),
            _by_rung(report),
        ),
    ]
    costs = report["ladder_costs"]
    parts.append(
        table(
            "Price and latency of each rung, means a call",
            costs,
            tuple(costs[0]) if costs else (),
            lambda row: "00_should_we_fine_tune/tables/ladder_costs.csv",
        )
    )
    return "\n".join([*parts, _economics(report), pictures(shown, "break_even"), "</section>"])


def _by_score(report: dict):
    return lambda row: report["sources"].get(f"{row['model']} {row['benchmark']}", "")


def _by_comparison(report: dict):
    return lambda row: report["sources"].get(f"{row.get('model')} {row.get('benchmark')}", "")


def _by_rung(report: dict):
    return lambda row: report["sources"].get(f"rung {row['rung']}", "")


def _economics(report: dict) -> str:
    found = report["economics"]
    if not found:
        return ""
    cost, price = found["per_correct_answer"], found["prices"]
    path = found["source"]
    each = link(f"{cost['seconds_per_call']:.3g} machine seconds", path)
    lines = [f"<h3>What it costs</h3><p>A call of {esc(found['model'])} takes {each} in a full batch"]
    right = "no answer was right" if cost["seconds"] is None else f"a right answer takes {cost['seconds']:.3g}"
    lines.append(
        f"; {link(right, path)}" + (f", which costs {cost['money']:.3g}." if cost["money"] is not None else ".")
    )
    if found["break_even"]:
        own, cascade = found["break_even"]["own"], found["break_even"]["cascade"]
        lines.append(
            f" Against the hosted model it pays from {_calls(own)}; when its failures go to the hosted model, from {_calls(cascade)}."
        )
    if price["price_source"]:
        lines.append(f" Prices: {esc(price['price_source'])}, read on {esc(price['price_date'])}.")
    if found["missing"]:
        lines.append(
            f" Not given: {esc(', '.join(found['missing']))}; the figure sweeps the hosted price instead of assuming one."
        )
    return "".join(lines) + "</p>"


def _calls(row: dict) -> str:
    if row["calls_a_day"] is None:
        return "no number of calls"
    low, high = (f"{end:,.0f}" if end is not None else "never" for end in row["interval"])
    return f"{row['calls_a_day']:,.0f} calls a day ({low} to {high}, 95% over the inputs)"


def _record(report: dict) -> str:
    spec = [
        {"field": name, "value": ", ".join(map(str, v)) if isinstance(v, list) else v}
        for name, v in report["spec"].items()
    ]
    frozen = {True: "before training", False: "AFTER a stage had trained or scored", None: "at an unknown time"}[
        report["frozen_before_training"]
    ]
    where = report["environment"]
    stages = [{**row, "executed": f"{row['stage']}/executed.ipynb"} for row in report["stages"]]
    machine = f"{where['cpu']['model']}, {where['cpu']['cores']} cores, {where.get('device', '')}; Python {where['python']}; commit {where['commit'][:12]}{' with changes' if where['dirty'] else ''}"
    return "\n".join(
        [
            "<section><h2>Record</h2>",
            table(
                "Gates, in CPMAI's order",
                report["gates"],
                ("phase", "gate", "verdict", "evidence", "rule"),
                lambda row: row["source"],
            ),
            f"<p>Specification {esc(report['spec_sha256'][:12])}, frozen {frozen}: {link('spec.json', '00_should_we_fine_tune/spec.json')}</p>",
            table("Specification", spec, ("field", "value"), lambda row: "00_should_we_fine_tune/spec.json"),
            table(
                "Stages",
                stages,
                tuple(report["stages"][0]) if report["stages"] else ("stage",),
                lambda row: f"{row['stage']}/manifest.json",
            ),
            f"<p>{esc(machine)}. The same content as data: {link('report.json', '06_verdict/report.json')}; the run: {link('run.json', 'run.json')}.</p></section>",
        ]
    )
