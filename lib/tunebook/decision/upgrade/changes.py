"""What an upgrade changes of a run that shipped, and the study of the new run: the old one's, but for that.

Refuses what would change the frozen specification, and an upgrade that changes nothing. Does not run anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tunebook.decision.comparisons import PROMPT_RUNGS
from tunebook.decision.economics import Prices, read_prices
from tunebook.decision.gather import SCORE_STAGE
from tunebook.decision.spec import MEASURED_BY, THRESHOLDS
from tunebook.decision.upgrade.options import Shipped
from tunebook.errors import InputProblem
from tunebook.files import hash_json
from tunebook.models.source import resolve_model
from tunebook.pipeline import inputs, params, record, stages

MODEL = "model model_revision adapter_base adapter_base_revision chat_template end_of_turn max_length slots".split()
HOSTED = "hosted_completions hosted_url hosted_model hosted_max_tokens hosted_budget".split()
MONEY = [field.name for field in fields(Prices) if field.name not in ("retrain_months", "stable_months")]
DATA = "task rows rows_revision mapping drop train_on n_rows n_dev stages seeds override cell_timeout_seconds".split()
# What has not changed is not asked again.
OTHERS = dict.fromkeys(
    ("larger_model", "larger_model_revision", "hosted_completions", "hosted_url", "hosted_model"), ""
)


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: a new base (`model`, `revision`), a new hosted model, parameters, and whether the
    new base is trained too.
    """

    model: str = ""
    revision: str = ""
    hosted_model: str = ""
    sets: tuple[str, ...] = ()
    retrain: bool = False


@dataclass(frozen=True)
class Upgrade:
    """The study of the new run; `before` and `after` hold the parameters that change, `notes` what a reader must know,
    `changed` the fields of the specification that may differ. `model` and `hosted` are "" where they stay.
    """

    study: params.Study
    before: dict
    after: dict
    notes: list[str]
    changed: list[str]
    missing: list[str]
    model: str = ""
    hosted: str = ""

    def prices(self) -> Prices:
        """The prices by which the answer is given."""
        return read_prices(**{field.name: self.study.params[field.name] for field in fields(Prices)})

    def run_name(self, old: str) -> str:
        """Name of the new run: the old one's, and what has changed. `ref-` is kept for runs that are recorded."""
        what = [Path(name).name for name in (self.model, self.hosted) if name] or ["prices"]
        text = "-".join([old.removeprefix("ref-")[:50], "upgrade", *what])
        return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:90] + f"-{hash_json(self.after)[:6]}"


def plan_upgrade(root: Path, shipped: Shipped, asked: Asked) -> Upgrade:
    """The new study. InputProblem where nothing changes, or something that the specification has frozen."""
    if asked.retrain and not asked.model:
        raise InputProblem("--retrain trains the new base: name it with --model")
    study, missing = record.study_of(root, shipped.folder)
    after = {} if not asked.model else {"adapter_base": "", "adapter_base_revision": ""}
    after |= _settings(root, asked, params.load_base(root))
    given, values = set(after), study.params | after
    before = {name: study.params[name] for name in after if study.params[name] != values[name]}
    after = {name: values[name] for name in before}
    is_model, is_hosted = bool(before.keys() & MODEL), bool(before.keys() & HOSTED)
    if not before:
        raise InputProblem(
            f"nothing changed: run {shipped.folder.name} was made with just that; name another --model,"
            " --hosted-model, or a price (--set price_hosted_output=... price_date=...)"
        )
    _require_date(before, given)
    if is_model:
        _require_other_weights(shipped, values)
    if is_model or is_hosted:
        values |= OTHERS | (_hosted(values, after) if is_hosted else {}) | {"seeds": 1}
        values["ladder"] = [name for name in values["ladder"] if name in PROMPT_RUNGS and is_model]
        values["search_share"] *= is_model
    new = replace(study, params=values, stages=_stages(study.stages, is_model, is_hosted, asked.retrain))
    changed = [*OTHERS, "ladder", "search_share", *HOSTED, *before] if is_model or is_hosted else list(before)
    names = (values["model"] if is_model else "", values["hosted_model"] or "the new hosted model" if is_hosted else "")
    upgrade = Upgrade(new, before, after, [], changed, missing, *names)
    upgrade.prices()
    return upgrade


def _settings(root: Path, asked: Asked, base: dict) -> dict:
    given = {"model": asked.model, "model_revision": asked.revision} if asked.model else {}
    given |= {"hosted_model": asked.hosted_model} if asked.hosted_model else {}
    if asked.revision and not asked.model:
        raise InputProblem("--model-revision without --model: name the model too")
    found = inputs.resolve_paths(given, root, Path.cwd(), "--model")
    for text in asked.sets:
        name, value = params.parse_setting(text, base)
        frozen = name.startswith("spec_") or name in (*MEASURED_BY, *THRESHOLDS, *DATA)
        if name not in (*MODEL, *HOSTED, *MONEY, "calls_per_day") and (frozen or not asked.retrain):
            why = "the old run's specification and data are kept" if frozen else "only --retrain would read it"
            can = "the model, the hosted model, prices, calls_per_day and frontier_lag_months"
            raise InputProblem(f"--set {text}: an upgrade does not change {name} ({why}); it changes {can}")
        found |= inputs.resolve_paths({name: value}, root, Path.cwd(), f"--set {text}")
    return found


def _hosted(values: dict, after: dict) -> dict:
    """The new hosted model: a server, or a file of its answers. InputProblem where a new name has neither."""
    source = "hosted_completions" if after.get("hosted_completions") else "hosted_url"
    if not values[source]:
        raise InputProblem(
            "the new hosted model has no answers: name its server (--set hosted_url=https://host/v1) or a file of its"
            " answers (--set hosted_completions=FILE)"
        )
    return {name: values[name] for name in (source, "hosted_model")}


def _require_date(before: dict, given: set) -> None:
    new = [name for name in before if name.startswith("price_") and name not in ("price_date", "price_source")]
    if new and "price_date" not in given:
        raise InputProblem(
            f"{new[0]} is new, so the old price_date is not its day: add --set price_date=... (as 2026-11-25)"
        )


def _require_other_weights(shipped: Shipped, values: dict) -> None:
    """The new base exists, and is another one: a copy under another name would be compared with itself."""
    names = ("model", "model_revision", "adapter_base", "adapter_base_revision")
    model, revision, base, base_revision = (values[name] for name in names)
    source = resolve_model(model, revision, adapter_base=base, adapter_base_revision=base_revision)
    stage = shipped.found.get(f"{SCORE_STAGE}@base")
    if stage and source.sha256 in [one["sha256"] for one in stage.manifest["external"]]:
        raise InputProblem(
            f"nothing changed: {model} has the weights of the base of run {shipped.folder.name}; name another --model"
        )


def _stages(old: list[str], is_model: bool, is_hosted: bool, retrain: bool) -> list[str]:
    """Only what changes runs: 00 asks a hosted model or the new base, 04 scores it, --retrain goes on from there."""
    if retrain:
        return [name for name in old if not stages.repeat(name) and stages.short_name(name) != "07"]
    wanted = ("00", "01", "04@base") if is_model else ("00",) if is_hosted else ()
    return [name for name in old if stages.short_name(name) in wanted]
