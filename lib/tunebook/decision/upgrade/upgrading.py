"""`tunebook upgrade`: runs what has changed as a new run beside the old one, and answers. The old run stays."""

from __future__ import annotations

from pathlib import Path

from tunebook.decision import gather
from tunebook.decision.drift import read_run
from tunebook.decision.economics import machine_cost
from tunebook.decision.report import HOSTED_CALLS
from tunebook.decision.spec import inherit
from tunebook.decision.upgrade.answer import KEEP, RETIRE, RETRAIN, answer, evidence_for
from tunebook.decision.upgrade.changes import Asked, Upgrade, plan_upgrade
from tunebook.decision.upgrade.options import Shipped, cost_of, money_of, options_of, prices_of, read_shipped
from tunebook.decision.upgrade.sheet import money_line, write_sheet
from tunebook.files import read_json, sha256_file, write_json
from tunebook.pipeline import ledger, record, runs
from tunebook.pipeline import study as studies

REPORTS = ("upgrade.json", "upgrade.html")


def upgrade(root: Path, folder: Path, asked: Asked, run: str, display) -> tuple[dict, int]:
    """The report of an upgrade of the run in `folder`, and 0; ({}, exit code) where a stage broke off.

    The new run is `run`, by default the old name with what has changed. InputProblem where nothing changes, the run
    never shipped, or the specification would change; IntegrityProblem where the old run's files have changed.
    """
    shipped = read_shipped(folder)
    change = plan_upgrade(root, shipped, asked)
    new = runs.run_folder_to_write(run or change.run_name(folder.name), folder.parent)
    plan = studies.make_plan(root, new, change.study, display)
    change.notes.extend(record.came_later(folder.name, change.missing, plan.declared))
    for name in REPORTS:
        (new / name).unlink(missing_ok=True)
    with runs.RunLock(new, "tunebook upgrade"):
        inherit(folder / record.FROZEN, new / record.FROZEN, folder.name, change.changed)
    made, code = {}, 0

    def conclude(error) -> str:
        nonlocal code
        if error:
            display.say(f"the upgrade did not complete: {error}")
            code = error.exit_code
            return ""
        made.update(report_of(root, new, shipped, change))
        write_json(new / REPORTS[0], made)
        write_sheet(made, new)
        kept = record.load_record(new).get("reports", {}) | {name: sha256_file(new / name) for name in REPORTS}
        record.update(new, reports=kept, frozen_sha256=sha256_file(new / record.FROZEN), answer=made["answer"])
        return made["answer"]

    studies.run_concluded(plan, change.study.stages, conclude)
    return made, code


def report_of(root: Path, folder: Path, shipped: Shipped, change: Upgrade) -> dict:
    """upgrade.json: the answer, and what it rests on."""
    new = read_run(folder)
    options = options_of(shipped, new, change.model, change.hosted)
    asked_hosted = gather.SPEC_STAGE in new and gather.has_file(new[gather.SPEC_STAGE], HOSTED_CALLS)
    calls, seed = change.study.params["calls_per_day"], change.study.params["seed"]
    before = cost_of(shipped, shipped.found, prices_of(shipped.found), calls, seed)
    prices = change.prices()
    now = cost_of(shipped, new if asked_hosted else shipped.found, prices, calls, seed)
    training = gather.training_seconds(shipped.found)
    both = gather.scored(shipped.found).get(shipped.target), gather.scored(new).get("base")
    seconds = sum(gather.problem_seconds(stage).get(gather.TASK, 0.0) for stage in both)
    evidence = evidence_for(shipped.spec, seconds, training, prices.price_machine_hour)
    found = answer(shipped.target, shipped.scores, options, evidence, money_of(now))
    if found["answer"] == KEEP and change.model and not any(option.kind == "tune" for option in options):
        cost = machine_cost(training, prices.price_machine_hour) or "an unknown time"
        text = f"whether a tune of {change.model} solves more: --retrain (the old training took {cost})"
        found |= {"settled": False, "settles": [*found["settles"], text]}
    kept = read_json(folder / record.FROZEN)
    metrics = shipped.scores.metrics
    return {
        "run": folder.name,
        "of": shipped.folder.name,
        "shipped": shipped.target,
        "solved": f"{metrics['k']}/{metrics['n']}",
        "score": "{:.1f} to {:.1f}".format(*(100 * end for end in metrics["interval"])),
        **found,
        "money": {"before": before, "now": now},
        "money_line": money_line(found, now, calls),
        "calls_per_day": calls,
        "price_source": f"{prices.price_source}, read on {prices.price_date}" if prices.price_source else "",
        "changes": [{"changed": key, "before": was, "now": change.after[key]} for key, was in change.before.items()],
        **_looks(root, shipped, new),
        "notes": [*change.notes, *_notes(now, shipped, new)],
        "spec_sha256": kept["sha256"],
        "frozen_at": kept["frozen_at"],
        "stages": change.study.stages,
    }


def _looks(root: Path, shipped: Shipped, new: dict) -> dict:
    """How often this test split was looked at before: every look is one more chance of a small p-value."""
    entries, _ = ledger.read_ledger(runs.outputs_root(root))
    sha = shipped.scores.protocol["benchmark_sha256"]
    opened = ledger.times_opened(entries)[sha]
    study = record.load_record(shipped.folder)["study"]["name"]
    words = (KEEP, RETRAIN, RETIRE)
    upgrades = sum(entry.get("study") == study and entry.get("verdict") in words for entry in entries)
    again = "this upgrade opens it once more" if new else "this upgrade asks no model, it only reads kept answers again"
    line = (
        f"Runs in the ledger that opened this test split before: {opened}; upgrades of this study before: {upgrades};"
    )
    line += f" {again}."
    if opened > 1 or upgrades:
        line += " A p-value supposes one look: the more often a split was opened, the more a small one may be chance."
    return {"test_split": sha, "opened_before": opened, "upgrades_before": upgrades, "looks_line": line}


def _notes(now: dict, shipped: Shipped, new: dict) -> list[str]:
    """What a reader of the money must know: missing prices, tokens that are a guess, seconds of two machines."""
    notes = [f"No figure of money without {', '.join(now['missing'])}: name them by --set."] if now["missing"] else []
    if now["hosted"] and not now["hosted_calls"]:
        notes.append("No hosted model was asked: its calls are taken to have the tokens of the model that ships.")
    stages = [*shipped.found.values(), *new.values()]
    prints = {stage.manifest["environment"].get("device_fingerprint") for stage in stages}
    text = "The old and the new seconds are of two machines: compare them with care."
    return [*notes, text] if len(prints) > 1 else notes
