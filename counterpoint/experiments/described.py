"""The record of a run, from its files: what it was trained on and with, and what came out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from statistics import median_low
from typing import Any

from counterpoint.analysis.fallen import explain
from counterpoint.analysis.falls import fate_of
from counterpoint.analysis.history import History
from counterpoint.analysis.milestones import MilestoneRows, Row
from counterpoint.analysis.signatures import examine
from counterpoint.analysis.signatures.base import Finding
from counterpoint.config import Config
from counterpoint.experiments.bases import base_digest
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.measured import controls_of
from counterpoint.run import Run

_BESIDE_THE_METHOD = ("seed", "threads")


def described(record: RunRecord, run: Run, metrics: Sequence[Row]) -> RunRecord:
    """The record with what is known of a run that has begun."""
    facts, config = run.facts, run.config
    sharing = config.policies.sharing
    return replace(
        record,
        seed=config.run.seed if record.seed < 0 else record.seed,
        steps=max((row["step"] for row in metrics), default=0),
        version=str(facts.get("versions", {}).get("counterpoint", "")),
        commit=str(facts.get("commit") or ""),
        config_sha256=digest_of(recipe_of(config)),
        tasks_sha256=str(facts.get("tasks", {}).get("test", "")),
        workflow=config.workflow.name,
        sharing=sharing if isinstance(sharing, str) else json.dumps(sharing, sort_keys=True),
        task=config.task.name,
        model=config.model.path,
        rate=rate_of(config),
        weights=dict(facts.get("weights", {})),
        planned=config.run.steps,
        routing=dict(facts.get("routing", {})),
        base_sha256=_base_digest(run),
    )


def rate_of(config: Config) -> str:
    """The learning rate of `policies`, and those that single policies have of their own: `0.001 and 0.003`."""
    own = {one.learning_rate for one in config.policy.values() if one.learning_rate is not None}
    return " and ".join(f"{rate:g}" for rate in sorted({config.policies.learning_rate, *own}))


def finished(record: RunRecord, run: Run, history: History, found: MilestoneRows) -> RunRecord:
    """The record with what came out of a finished run."""
    stopped = why_stopped(run, history.evaluations)
    fate = fate_of(history.evaluations, history.final, stopped)
    findings = found_in(history)
    times = [row["time/step"] for row in history.metrics if "time/step" in row]
    return replace(
        record,
        peak_step=found.peak["step"],
        terminal_steps=tuple(row["step"] for row in found.last),
        stopped=stopped,
        samples=median_low([len(values) for values in found.peak["outcomes"].values()] or [0]),
        drop=None if fate is None else fate.drop,
        fell="cannot tell" if fate is None else fate.fell,
        onset=None if fate is None or fate.onset is None else fate.onset.step,
        signatures=tuple(f"{one.signature}: {one.where}" for one in findings),
        findings=findings,
        explained=explain(history),
        controls=controls_of(run.path),
        tokens=sum(_tokens(row, run.config.rollout.group_size) for row in history.metrics),
        cpu_seconds=run.facts.get("cpu_seconds"),
        seconds=sum(times) if times else None,
    )


def _base_digest(run: Run) -> str:
    routes = run.facts.get("routing")
    sources = {module: str(told.get("sha256", "")) for module, told in run.facts.get("sources", {}).items()}
    return base_digest(run.config, routes, sources) if routes else ""


def recipe_of(config: Config) -> dict[str, Any]:
    """A recipe without its seed and its number of threads: equal for the seeds of a cell."""
    table = config.model_dump(mode="json", exclude_none=True)
    return {**table, "run": {key: value for key, value in table["run"].items() if key not in _BESIDE_THE_METHOD}}


def digest_of(recipe: Mapping[str, Any]) -> str:
    """The SHA-256 of such a recipe."""
    return sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def why_stopped(run: Run, evaluations: Sequence[Row]) -> str:
    """The reason why an intervention ended the run; empty if none did."""
    folder = run.path / "checkpoints"
    saved = run.checkpoints() if folder.is_dir() else []
    reason = run.checkpoint_state(saved[-1]).get("stopped") if saved else None
    if reason is None and any(row.get("rolled_back") for row in evaluations):
        return "rolled back to its peak"
    return str(reason or "")


def found_in(history: History) -> tuple[Finding, ...]:
    """The shipped failure signatures that a run shows; the user's own are code, which is not executed here."""
    return tuple(examine(replace(history, signatures=())).findings)


def _tokens(row: Row, group_size: int) -> float:
    """The tokens that the episodes of a training step generated."""
    per_episode = sum(
        calls * row.get(f"{name.removesuffix('/calls')}/tokens", 0.0)
        for name, calls in row.items()
        if name.startswith("role/") and name.endswith("/calls")
    )
    return float(row.get("episode/tasks", 0) * group_size * per_episode)
