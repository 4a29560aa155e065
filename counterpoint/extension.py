"""Keys of a run's recipe that may change when it is resumed: a run can be made longer, and moved."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from counterpoint.config import Config
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.files import write_whole
from counterpoint.pins import changed_rows
from counterpoint.places import located
from counterpoint.policy import Routing
from counterpoint.recipe import config_from, override_table, with_members
from counterpoint.run import Run
from counterpoint.run_files import CONFIG, EVALUATIONS, FINAL, SUMMARY

MAY_CHANGE = (
    "run.steps",
    "run.save_every",
    "run.patience",
    "run.threads",
    "evaluation.final_samples",
    "track",
    "model.device",
    "runtime.NAME",
    "task.path",
    "policy.NAME.endpoint.url",
    "policy.NAME.endpoint.key_variable",
    "policy.NAME.endpoint.timeout",
    "policy.NAME.endpoint.retries",
    "policy.NAME.endpoint.concurrency",
)
"""The length of a run, how it is saved and evaluated at its end, and where its parts are.

Tasks at another path must have the same content.
"""
_STEPS = "run.steps"
_FINAL = "evaluation.final_samples"


def extended(run: Run, overrides: Sequence[str]) -> Config:
    """The recipe of the run with these overrides; nothing is written down.

    Files and folders that the overrides name are looked for in the current directory, and absolute in the result.
    Raises ConfigError if a key may not change or would make it another run, RunError if an intervention has stopped it.
    """
    if not overrides:
        return run.config
    before = run.config.model_dump(exclude_none=True)
    config = config_from(_placed(before, overrides))
    changes, step = _changes(run.config, config), _last(run)
    for key in changes:
        if not _may_change(key):
            raise ConfigError(
                unknown("key to change in a run that has begun", key, MAY_CHANGE) + "; anything else is another run"
            )
    if _STEPS in changes:
        _check_length(run, config, step)
    if _FINAL in changes:
        _check_checkpoints(run, config, step)
    return config


def extend(run: Run, overrides: Sequence[str]) -> None:
    """`config.toml` and `run.json` say that the run has the recipe with these overrides from its last checkpoint on.

    A run that is extended to more steps is the run that had so many from the beginning. Raises as `extended` does.
    """
    written = Run.read(run.path)
    config = extended(written, overrides)
    changes = _changes(written.config, config)
    if changes:
        _write(run, config, changes, _last(run))


def _placed(before: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The table with the overrides, in which the paths that they change are absolute."""
    table = override_table(before, overrides)
    given, found = differences(before, table), located(table, (Path.cwd(),), required=True)
    return with_members(table, {key: now for key, (_, now) in differences(table, found).items() if key in given})


def _changes(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    return differences(before.model_dump(exclude_none=True), after.model_dump(exclude_none=True))


def _last(run: Run) -> int:
    """The step from which the run goes on."""
    return max(run.checkpoints(), default=0)


def _check_length(run: Run, config: Config, step: int) -> None:
    steps, planned = config.run.steps, run.config.run.steps
    if steps < step:
        raise ConfigError(f"run.steps = {steps}: {run.path} has done {step} steps already")
    stopped = run.checkpoint_state(step)["stopped"] if step in run.checkpoints() else None
    if stopped is not None:
        raise RunError(f"{run.path} was stopped at step {step} ({stopped}): more steps would not be played")
    for policy in _policies(run):
        settings = config.policy_settings(policy)
        if settings.trainable and settings.schedule != "constant":
            raise ConfigError(
                f"run.steps = {steps}: the learning rate of policy {policy!r} follows a {settings.schedule} schedule"
                f" that ends at step {planned}, so that a run of {steps} steps would have had other rates from the"
                " beginning: start a new run"
            )


def _check_checkpoints(run: Run, config: Config, step: int) -> None:
    evaluated = {row["step"] for row in run.evaluation_rows() if row["step"] <= step}
    missing = sorted(evaluated - set(run.checkpoints()))
    if config.evaluation.final_samples and missing:
        raise ConfigError(
            f"evaluation.final_samples = {config.evaluation.final_samples}: {run.path} was evaluated at step"
            f" {missing[0]}, of which it has no checkpoint that could be evaluated again"
        )


def _policies(run: Run) -> list[str]:
    table = {role: one if isinstance(one, str) else tuple(one) for role, one in run.facts.get("routing", {}).items()}
    return [policy.name for policy in Routing(table).policies] if table else []


def _write(run: Run, config: Config, changes: Mapping[str, tuple[Any, Any]], step: int) -> None:
    recipe = config.toml()
    rows = run.facts.get("changes", [])
    for key, (before, after) in changes.items():
        rows = [*rows, *changed_rows(run, step, key, before, after)[-1:]]
    if _STEPS in changes or _FINAL in changes:  # before the recipe: a kill between them must not leave a finished run
        for name in (SUMMARY, FINAL):
            (run.path / name).unlink(missing_ok=True)
    run.note({"config_sha256": sha256(recipe.encode()).hexdigest(), "changes": rows})
    write_whole(run.path / CONFIG, recipe)
    if _STEPS in changes:
        _forget_last_evaluation(run)


def _forget_last_evaluation(run: Run) -> None:
    """The evaluation after the last step is no longer recorded if `evaluation.every` does not ask for it.

    Without it the evaluations are those of a run that had more steps from the beginning.
    """
    rows = run.evaluation_rows()
    kept = [row for row in rows if row["step"] % run.config.evaluation.every == 0]
    if len(kept) < len(rows):
        write_whole(run.path / EVALUATIONS, "".join(json.dumps(row) + "\n" for row in kept))


def _may_change(key: str) -> bool:
    return any(re.fullmatch(one.replace(".", r"\.").replace("NAME", r"[^.]+"), key) for one in MAY_CHANGE)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its two values, where these differ."""
    one, other = dict(_flat(before)), dict(_flat(after))
    return {key: (one.get(key), other.get(key)) for key in {**one, **other} if one.get(key) != other.get(key)}


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
