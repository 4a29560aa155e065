"""Plans the cells of a study, all in one process: `python -m counterpoint.plan.cells`.

Standard input is `{"cells": [{"name": ..., "recipe": ..., "overrides": [...]}, ...]}`. Standard output is
`{"cells": {name: plan or {"error": ...}}}`; what a plan holds is told by `planned_cell`. What a recipe names and is not
on this machine is listed as `missing`, and the rest is planned without it.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from counterpoint.adapter import Adapter
from counterpoint.config import Config, ModelConfig
from counterpoint.errors import AbsentError, CounterpointError, ModelError
from counterpoint.locate import check_device
from counterpoint.options import Spec
from counterpoint.plan.check import check_parts, looked_up
from counterpoint.plan.plan import Plan, measured_rate, planned_with, rehearsal_chat
from counterpoint.plan.startable import check_judge
from counterpoint.recipe import load_config
from counterpoint.tasks import load_tasks
from counterpoint.tasks.base import Splits

if TYPE_CHECKING:
    from counterpoint.base_model import BaseSize
    from counterpoint.chat import Chat
    from counterpoint.learners.footprint import Footprint

T = TypeVar("T")
_STAND_IN = ModelConfig(path="micro-medium")
"""The model whose chat format a rehearsal uses where that of the recipe is not here."""
_STAND_IN_TASK = Spec(name="arithmetic")
_STAND_IN_JUDGE = Spec(name="task")
_BYTES_PER_NUMBER = 4
_ADAPTER_AND_MOMENTS = 3
_FORWARD = 0.25
"""The operations of a token that is only generated, as a fraction of those of one that is also learned from."""


@dataclass(slots=True)
class Known:
    """What many cells have in common, looked up once: a value, or the error that it raised."""

    found: dict[tuple[str, str], object] = field(default_factory=dict)

    def of(self, kind: str, key: str, look_up: Callable[[], T]) -> T:
        """The value of `look_up` for this key. Raises the CounterpointError that it raised the first time."""
        if (kind, key) not in self.found:
            try:
                self.found[kind, key] = look_up()
            except CounterpointError as error:
                self.found[kind, key] = error
        value: Any = self.found[kind, key]
        if isinstance(value, CounterpointError):
            raise value
        return value  # type: ignore[no-any-return]


def planned_cells(cells: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> the plan of every cell, or its error."""
    known, plans = Known(), {}
    for cell in cells:
        try:
            plans[cell["name"]] = planned_cell(load_config(cell["recipe"], cell["overrides"]), known)
        except CounterpointError as error:
            plans[cell["name"]] = {"error": str(error)}
        except Exception as error:  # of the user's own modules
            plans[cell["name"]] = {"error": f"{type(error).__name__}: {error}"}
    return plans


def planned_cell(config: Config, known: Known) -> dict[str, Any]:
    """The plan of one cell, for JSON.

    `calls`: per episode, at most. `memory`: bytes at the peak, null if unknown. `step_seconds` and
    `evaluation_seconds`: floors on this machine; null if unknown. `adapters`: bytes of a checkpoint. `test_tasks`: a
    fingerprint. `warnings`, `missing`: lines. Raises CounterpointError for whatever keeps the cell from starting.
    """
    missing: list[str] = []
    _kept(missing, lambda: check_parts(config))
    setup = looked_up(config, _tasks(config, known, missing))
    models = {name: own.model for name, own in setup.settings.items() if own.endpoint is None}
    sizes: dict[str, BaseSize] = {}
    for name, model in models.items():
        _kept(missing, lambda model=model: check_device(model))  # type: ignore[misc]
        size = _kept(missing, lambda model=model: _size(model, known))  # type: ignore[misc]
        if size is not None:
            sizes[name] = size
    plan = planned_with(setup, sizes, {name: _chat(models.get(name, config.model), known) for name in setup.settings})
    for name, settings in setup.settings.items():
        if settings.adapter:
            Adapter.read(Path(settings.adapter).expanduser(), policy=name)
    return {**_estimates(plan, known, complete=len(sizes) == len(models)), "missing": list(dict.fromkeys(missing))}


def _estimates(plan: Plan, known: Known, *, complete: bool) -> dict[str, Any]:
    config, splits = plan.config, plan.splits
    episodes = config.rollout.tasks_per_step * config.rollout.group_size
    evaluated = (splits["validation"] + splits["test"]) * config.evaluation.samples
    step = plan.operations_per_step() / _rate(config, known) if complete and config.model.device == "cpu" else None
    trained = [name for name in plan.sizes if plan.settings[name].trainable]
    return {
        "calls": len(plan.rehearsal.calls),
        "calls_per_step": plan.calls_per_step,
        "not_called": list(plan.not_called),
        "memory": _memory(plan, known) if complete else None,
        "step_seconds": step,
        "evaluation_seconds": None if step is None else step * _FORWARD * evaluated / episodes,
        "adapters": sum(plan.adapter_parameters(name) for name in trained) * _BYTES_PER_NUMBER * _ADAPTER_AND_MOMENTS,
        "tasks": splits,
        "test_tasks": plan.setup.tasks.fingerprints()["test"],
        "warnings": list(plan.warnings),
    }


def _memory(plan: Plan, known: Known) -> int | None:
    from counterpoint.plan.memory import look

    def once(model: ModelConfig, rank: int, checkpointing: bool) -> "Footprint":
        key = f"{model.model_dump_json()} {rank} {checkpointing}"
        return known.of("footprint", key, lambda: look(model, rank, checkpointing))

    try:
        return plan.memory(once).peak
    except ModelError:
        return None


def _rate(config: Config, known: Known) -> float:
    threads = max(1, config.run.threads)
    return known.of("rate", str(threads), lambda: measured_rate(threads))


def _kept(missing: list[str], look: Callable[[], T]) -> T | None:
    """What `look` returns; None, and a line in `missing`, if what it needs is not on this machine."""
    try:
        return look()
    except AbsentError as error:
        missing.append(str(error))
        return None


def _tasks(config: Config, known: Known, missing: list[str]) -> Splits:
    """The recipe's tasks, whose judge has been started once; where their data is not here, those of a stand-in."""

    def loaded() -> Splits:
        splits = load_tasks(config.task, config.sandbox, config.judge)
        check_judge(splits.judging)
        return splits

    key = "".join(one.model_dump_json() for one in (config.task, config.sandbox, config.judge))
    found = _kept(missing, lambda: known.of("tasks", key, loaded))
    if found is not None:
        return found
    return known.of("tasks", "", lambda: load_tasks(_STAND_IN_TASK, config.sandbox, _STAND_IN_JUDGE))


def _size(model: ModelConfig, known: Known) -> "BaseSize":
    from counterpoint.base_model import base_size  # after the checks that do without transformers

    return known.of("size", model.model_dump_json(), lambda: base_size(model))


def _chat(model: ModelConfig, known: Known) -> "Chat":
    """The chat format of a model as a rehearsal reads it, or of a stand-in if the model is not here."""
    try:
        return known.of("chat", model.model_dump_json(), lambda: rehearsal_chat(model))
    except AbsentError:
        return known.of("chat", _STAND_IN.model_dump_json(), lambda: rehearsal_chat(_STAND_IN))


def main() -> None:
    """Read the cells from standard input, and write their plans to standard output."""
    cells = json.load(sys.stdin)["cells"]
    out = sys.stdout
    with redirect_stdout(sys.stderr):  # the user's own modules may print
        plans = planned_cells(cells)
    json.dump({"cells": plans}, out)


if __name__ == "__main__":
    main()
