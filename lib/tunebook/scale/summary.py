"""The end of a sweep: a row for each setting, its comparison with the first, a figure and a page. Reads verified scores
and decides by the rules of `statistics`; runs nothing.
"""

import csv
import io
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation.protocol import differences
from tunebook.evaluation.score_folder import read_scores
from tunebook.files import write_bytes, write_text
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import record
from tunebook.pipeline import stages as stage_names
from tunebook.plots.scoring import sweep_scores
from tunebook.scale.points import Point, Sweep
from tunebook.statistics.compare import compare_paired
from tunebook.statistics.intervals import mean_interval
from tunebook.statistics.paired import holm
from tunebook.statistics.trainings import over_trainings

LEVEL = 0.05


def summarise(sweep: Sweep, outputs: Path, outcomes: dict[str, dict]) -> dict:
    """`rows`: a setting each with its solved problems (of every training), rate, interval and spread in points;
    `comparisons`: every other setting with the first that was scored, Holm's correction over them; `missing`: points
    without a score and why; `lines`: what a person reads.
    """
    groups: dict[str, list[Point]] = {}
    for point in sweep.points:
        groups.setdefault(point.label(), []).append(point)
    scores, missing = {}, []
    for label, points in groups.items():
        found = {}
        for point in points:
            found[point.seed], why = _scored(point, sweep, outputs, outcomes[point.run])
            if why:
                missing.append({"run": point.run, "values": label, "seed": point.seed, "why": why})
        scores[label] = {seed: score for seed, score in found.items() if score}
    rows = [_row(label, groups[label], scores[label]) for label in groups]
    comparisons = _comparisons(scores)
    summary = {"split": sweep.split, "rows": rows, "comparisons": comparisons, "missing": missing}
    return summary | {"lines": _lines(summary)}


def _scored(point: Point, sweep: Sweep, outputs: Path, outcome: dict):
    """The task's scores of a point, verified, or None and the reason: a stage that was skipped now may have an old
    manifest.
    """
    folder = outputs / point.run / sweep.judged
    if sentence := outcome.get("problem") or outcome.get("lost"):
        return None, sentence
    try:
        state = record.load_record(outputs / point.run)["states"].get(sweep.judged, {"state": "pending"})
        if state["state"] not in record.FINISHED:
            return None, state.get("message") or f"{stage_names.short_name(sweep.judged)} is {state['state']}"
        manifest = manifests.read_verified(folder, stage_names.kind(sweep.judged))
        for entry in manifest["files"]:
            if entry["path"].startswith("scores/task/") and (problem := manifests.file_problem(folder, entry)):
                raise IntegrityProblem(f"{folder / entry['path']}: {problem}")
        return read_scores(folder / "scores" / "task"), ""
    except (InputProblem, IntegrityProblem) as problem:
        return None, f"a gate ended it before its score ({problem})"


def _row(label: str, points: list[Point], scores: dict) -> dict:
    row = {"values": label, "runs": [point.run for point in points], "trainings": len(points), "n_scored": len(scores)}
    if not scores:
        return row | {"k": [], "n": 0, "pass_at_1": None, "low": None, "high": None, "sd": None}
    found = [scores[seed] for seed in sorted(scores)]
    counts = [sum(map(sum, one.passed.values())) for one in found]
    n = sum(map(len, found[0].passed.values()))
    samples = len(next(iter(found[0].passed.values()))) * len(found)
    per_problem = [sum(sum(one.passed[task]) for one in found) / samples for task in found[0].passed]
    low, high = mean_interval(per_problem, samples=samples)
    rates = [100 * count / n for count in counts]
    mean = sum(rates) / len(rates)
    sd = (sum((rate - mean) ** 2 for rate in rates) / (len(rates) - 1)) ** 0.5 if len(rates) > 1 else None
    return row | {"k": counts, "n": n, "pass_at_1": mean, "low": 100 * low, "high": 100 * high, "sd": sd}


def _comparisons(scores: dict[str, dict]) -> list[dict]:
    """Each setting with the first: problem by problem, with several trainings over trainings and problems."""
    first = next((label for label, found in scores.items() if found), None)
    rows = []
    for label, found in scores.items():
        shared = sorted(set(found) & set(scores[first])) if first is not None else []
        if label == first or not shared:
            continue
        pairs = [(scores[first][seed], found[seed]) for seed in shared]
        if fields := differences(pairs[0][0].protocol, pairs[0][1].protocol):
            rows.append({"values": label, "against": first, "why": f"asked otherwise ({', '.join(fields)})"})
            continue
        if len(pairs) == 1:
            result = compare_paired(pairs[0][0].passed, pairs[0][1].passed)
            test = "exact McNemar" if result["samples"] == 1 else "sign flips"
        else:
            result, test = over_trainings([_differences(*pair) for pair in pairs]), f"over {len(pairs)} trainings"
        kept = {key: result[key] for key in ("difference", "interval", "p_exact")}
        rows.append({"values": label, "against": first, "why": "", "test": test, **kept})
    tested = [row for row in rows if not row["why"]]
    for row, p in zip(tested, holm([row["p_exact"] for row in tested]), strict=True):
        row["p_holm"] = p
        row["shown"] = "" if p >= LEVEL else "better" if row["difference"] > 0 else "worse"
    return rows


def _differences(before, after) -> list[float]:
    return [
        sum(after.passed[task]) / len(after.passed[task]) - sum(passed) / len(passed)
        for task, passed in before.passed.items()
    ]


def _lines(summary: dict) -> list[str]:
    """What stands under the table in the terminal and at the head of the page."""
    lines, scored = [], [row for row in summary["rows"] if row["n_scored"]]
    for row in scored:
        spread = "" if row["sd"] is None else f", standard deviation between trainings {row['sd']:.1f}"
        solved = " ".join(f"{k}/{row['n']}" for k in row["k"])
        bounds = f"{row['pass_at_1']:.1f} points [{row['low']:.1f}, {row['high']:.1f}]"
        lines.append(f"{row['values']}: {solved}, {bounds}{spread}")
    for row in summary["comparisons"]:
        if row["why"]:
            lines.append(f"{row['values']} is not compared with {row['against']}: {row['why']}")
            continue
        low, high = row["interval"]
        shown = row["shown"] or "no difference is shown"
        lines.append(
            f"{row['values']} against {row['against']}: {row['difference']:+.1f} points [{low:+.1f}, {high:+.1f}],"
            f" {row['test']}, Holm p = {row['p_holm']:.2g}: {shown}"
        )
    lines += [
        f"{row['run']} ({row['values']}, seed +{row['seed']}) has no score: {row['why']}" for row in summary["missing"]
    ]
    if summary["split"] == "test":
        lines.append("selected on test: whatever is chosen from this table was chosen on the problems that judge it")
    else:
        lines.append("judged on dev: the chosen setting still has to be scored once on test, by `tunebook run`")
    return lines


def write_summary(folder: Path, summary: dict) -> None:
    """table.csv, comparisons.csv, figure.png and report.html in the sweep's folder."""
    for name in ("rows", "comparisons"):
        write_text(folder / f"{'table' if name == 'rows' else name}.csv", _csv(summary[name]))
    drawn = [row for row in summary["rows"] if row["n_scored"]]
    if drawn:
        image = io.BytesIO()
        sweep_scores(drawn, summary["split"]).savefig(image, format="png", dpi=100)
        write_bytes(folder / "figure.png", image.getvalue())
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    kind = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, **kind)
    made = page.get_template("sweep.html.jinja").render(name=folder.name, summary=summary, has_figure=bool(drawn))
    write_text(folder / "report.html", made + "\n")


def _csv(rows: list[dict]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    return text.getvalue()
