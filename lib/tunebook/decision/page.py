"""report.html: one self-contained page from report.json, verdict first, then the evidence, then the record.

`report.html.jinja` has the words and the look; here its values are prepared. No script and no request to anywhere;
Jinja2 escapes every text, model text above all; every figure links to the file it came from. Does not decide.
"""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

from tunebook.decision.report import comparison_rows
from tunebook.decision.spec import spec_table
from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.files import read_csv, read_json, write_text
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import record
from tunebook.pipeline import stages as stage_names

TEMPLATE, STAGES = "report.html.jinja", "stages.html.jinja"
# Path in the run and caption. The break-even is drawn by 06 where it sweeps prices, which then replaces that of 00.
FIGURES = {
    "06_verdict/figures/scores.png": "Every score with its interval",
    "00_should_we_fine_tune/figures/ladder.png": "Without training",
    "00_should_we_fine_tune/figures/effort.png": "Score, and what it takes",
    "06_verdict/figures/effort.png": "Score, and what it takes, trained or not",
    "02_train_sft/figures/checkpoints.png": "Learned and forgotten on the way",
    "08_train_grpo/figures/reward.png": "Reward, and truth on problems that are never rewarded",
    "09_recover/figures/front.png": "What came back, and what it cost",
    "11_label/figures/labelled.png": "Answers that people find right",
    "13_rows_that_hurt/figures/groups.png": "What each source of rows does to right answers",
    "00_should_we_fine_tune/figures/break_even.png": "When it pays against a hosted model",
    "06_verdict/figures/break_even.png": "When it pays against a hosted model",
    "06_verdict/figures/cascade.png": "Wrong answers, and answers that stay local, against the threshold",
}
# Stages whose gates say what each training, its teacher or its readers, did.
STEPS = ("02", "03", "08", "09", "10", "11")
SHOWN_ROWS = 10  # of a table, on the page of a run without a verdict
LONG = 40  # characters from which a cell holds a sentence
SHOWN_CARDS = 5  # problems of each change
FROZEN = {True: "before training", False: "AFTER a stage had trained or scored", None: "at an unknown time"}
SPEC = "00_should_we_fine_tune/spec.json"


def write_page(report: dict, run_folder: Path) -> None:
    """Writes report.html at the root of the run, where its links are relative to."""
    figures = [(path, caption) for path, caption in FIGURES.items() if (run_folder / path).is_file()]
    write_text(run_folder / "report.html", render(report, run_folder, figures))


def remake(run_folder: Path) -> list[str]:
    """Write report.html of a run anew from what is on disk; returns what is missing or has changed, one sentence each.

    With a finished 06 it is the verdict's page, else a page of what the finished stages left. IntegrityProblem where
    report.json of 06 is not the one that was recorded: the page would say another verdict.
    """
    run = record.load_record(run_folder)
    stages, missing = [], []
    for name in run["study"]["stages"]:
        found, problems = _stage(run_folder, name, run["states"].get(name, {}))
        stages.append(found)
        missing += problems
    verdict = next((stage["name"] for stage in stages if stage["status"] and stage_names.is_verdict(stage["name"])), "")
    if verdict:
        changed = [problem for problem in missing if problem.startswith(f"{verdict}/report.json")]
        if changed:
            raise IntegrityProblem(f"{changed[0]}: run {verdict} again")
        from jinja2 import UndefinedError

        try:
            write_page(read_json(run_folder / verdict / "report.json"), run_folder)
        except (UndefinedError, KeyError) as problem:
            where = run_folder / verdict / "report.json"
            raise InputProblem(f"{where} is of another version of Tunebook ({problem}): run {verdict} again") from None
        record.keep_reports(run_folder, run_folder / verdict)
    else:
        values = {"run": run_folder.name, "study": run["study"]["name"], "stages": stages, "missing": missing}
        values["done"] = sum(bool(stage["status"]) for stage in stages)
        write_text(run_folder / "report.html", templates().get_template(STAGES).render(values) + "\n")
    return missing


def _stage(run_folder: Path, name: str, state: dict) -> tuple[dict, list[str]]:
    """What a stage left, as the page shows it, and what is missing of it."""
    folder, short = run_folder / name, stage_names.short_name(name)
    empty = {"name": name, "status": ""}
    if state.get("state") not in record.FINISHED:
        why = f": {state['message']}" if state.get("message") else ""
        return empty, [f"{name} is {state.get('state', 'pending')}{why}: run its notebook"]
    try:
        manifest = manifests.read_manifest(folder)
    except (InputProblem, IntegrityProblem) as problem:
        return empty, [str(problem)]
    intact, problems = [], []
    for entry in manifest["files"]:
        problem = manifests.file_problem(folder, entry)
        intact += [] if problem else [entry["path"]]
        problems += (
            [f"{name}/{entry['path']}: {problem}"] if problem and (entry["stored"] or problem != "missing") else []
        )
    executed = f"{name}/executed.ipynb" if (folder / "executed.ipynb").is_file() else ""
    problems += [] if executed else [f"{name}/executed.ipynb: run {short} again to have it"]
    drawn = [
        _figure(run_folder, f"{name}/{path}", Path(path).stem.replace("_", " "))[1]
        for path in intact
        if path.endswith(".png")
    ]
    shown = [_csv(run_folder, f"{name}/{path}") for path in intact if path.startswith("tables/")]
    order = ("name", "measured", "rule", "ok", "severity")
    checks = [{key: row[key] for key in order} for row in manifest["checks"]]
    timing = {"seconds": manifest["timing"]["seconds"], "started": manifest["timing"]["started_at"]}
    about = {"status": manifest["status"], "by": manifest["by"], "checks": checks, "executed": executed}
    return empty | about | timing | {"figures": drawn, "tables": shown}, problems


def _csv(run_folder: Path, path: str) -> dict:
    rows = [{name: _number(text) for name, text in row.items()} for row in read_csv(run_folder / path)]
    caption = Path(path).stem.replace("_", " ")
    return {"path": path, "caption": caption, "rows": rows[:SHOWN_ROWS], "left": max(len(rows) - SHOWN_ROWS, 0)}


def _number(text: str):
    try:
        return text if text.isdigit() else float(text)  # as the page writes numbers
    except ValueError:
        return text


def templates():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    kind = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined, "finalize": visible}
    page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, **kind)
    page.filters["href"] = lambda path: quote(path, safe="/@")
    return page


def render(report: dict, run_folder: Path, figures: list[tuple[str, str]]) -> str:
    """The page as text. A figure whose file is missing is left out."""
    order = sorted(range(len(report["reasons"])), key=lambda at: report["words"][at] != report["verdict"])
    values = {
        "kind": {"GO": "go", "NO-GO": "no-go"}.get(report["verdict"], "open"),
        "reasons": [{key: report[key][at] for key in ("reasons", "words", "about")} for at in order],
        "figures": {
            Path(path).stem: drawn for path, drawn in map(lambda pair: _figure(run_folder, *pair), figures) if drawn
        },
        "tables": tables(report),
        "cards": cards(report),
        "trainings": [row for row in report["gates"] if row["source"][:2] in STEPS],
        "frozen": FROZEN[report["frozen_before_training"]],
        "spec_file": SPEC,
    }
    return templates().get_template(TEMPLATE).render(report=report, **values) + "\n"


def visible(value):
    """Any value as the page shows it: four digits of a number, yes and no, control characters as their code."""
    if hasattr(value, "__html__"):  # a piece that the template has built
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        value = f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def tables(report: dict) -> dict[str, dict]:
    """Every table of the page by its name, see `table`."""
    where = report["sources"].get
    scores = [{**_solved(row), "pass_at_1": f"{row['pass_at_1']:.1f}"} for row in report["scores"]]
    compared = comparison_rows(report) if report["gains"] or report["retentions"] else []
    ladder = list(map(_solved, report["ladder"]))
    points = list(map(_solved, report["checkpoints"]))
    slices = [row | _sides(row) | {"difference": f"{row['difference']:+.1f}"} for row in report["slices"]]
    return {
        "scores": table(
            scores, "model benchmark solved pass_at_1 interval", lambda row: where(f"{row['model']} {row['benchmark']}")
        ),
        "comparisons": table(
            compared, _keys(compared), lambda row: where(f"{row.get('model')} {row.get('benchmark')}")
        ),
        "slices": table(slices, "slice base now difference gained lost p_holm shown", lambda row: where("slices")),
        "kept": table(
            report["kept"], "model bits_per_byte kl_nats_per_token kl_nats_per_answer", lambda row: row["source"]
        ),
        "checkpoints": table(
            points, "step solved bits_per_byte rise kl on_front", lambda row: "02_train_sft/tables/checkpoints.csv"
        ),
        "ladder": table(ladder, "rung solved interval meets_spec rule", lambda row: where(f"rung {row['rung']}")),
        "ladder_costs": table(
            report["ladder_costs"],
            _keys(report["ladder_costs"]),
            lambda row: "00_should_we_fine_tune/tables/ladder_costs.csv",
        ),
        "gates": table(report["gates"], "phase gate verdict evidence rule", lambda row: row["source"]),
        "spec": table(spec_table(report["spec"]), "field value", lambda row: SPEC),
        "stages": table(report["stages"], _keys(report["stages"]), lambda row: f"{row['stage']}/manifest.json"),
    }


def _keys(rows: list[dict]) -> str:
    return "|".join(dict.fromkeys(key for row in rows for key in row))


def _solved(row: dict) -> dict:
    interval = f"{row['low']:.1f} to {row['high']:.1f}" if "low" in row else ""
    return {**row, "solved": f"{row['k']}/{row['n']}", "interval": interval}


def _sides(row: dict) -> dict:
    n = row["n"] * row["samples"]
    return {"base": f"{row['k_a']}/{n}", "now": f"{row['k_b']}/{n}"}


def table(rows: list[dict], columns: str, source_of) -> dict:
    """`names` and `rows` of cells `value, kind, path`; the numbers of a row link to its source, and where it has
    none its first cell has the link as `file`. Columns, divided by spaces or bars, that are empty everywhere are
    left out.
    """
    wanted = columns.split("|" if "|" in columns else " ")
    names = [name for name in wanted if any(row.get(name) not in ("", None) for row in rows)]
    shown = []
    for row in rows:
        path = source_of(row) or ""
        cells = [_cell(row.get(name), path) for name in names]
        if cells and not any(cell["path"] for cell in cells):
            cells[0]["file"] = path
        shown.append(cells)
    return {"names": [name.replace("_", " ") for name in names], "rows": shown}


def _cell(value, path: str) -> dict:
    is_text = isinstance(value, str)
    is_number = value[:1] in tuple("+-0123456789[") if is_text else isinstance(value, int | float)
    is_number = is_number and not isinstance(value, bool)
    kind = "text" if is_text and len(value) > LONG else "number" if is_number else ""
    return {"value": value, "kind": kind, "path": path if is_number else "", "file": ""}


def _figure(run_folder: Path, path: str, caption: str) -> tuple[str, dict | None]:
    if not (run_folder / path).is_file():
        return path, None
    data = base64.b64encode((run_folder / path).read_bytes()).decode("ascii")
    return path, {"path": path, "caption": caption, "data": data}


def cards(report: dict) -> list[dict]:
    """Lost and gained problems: `change`, how many in all, and at most SHOWN_CARDS rows, with both answers."""
    path = report["sources"].get("gain", "").replace("scores/task/metrics.json", "completions/task.jsonl")
    made = []
    for change in ("lost", "gained") if report["answers"] else ():
        rows = [row for row in report["answers"] if row["change"] == change][:SHOWN_CARDS]
        total = sum(row[change] for row in report["gains"] if row["model"] == report["shipped"])
        made.append({"change": change, "total": total, "rows": rows, "path": path})
    return made
