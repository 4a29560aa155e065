"""Plans the cells of a study, all in one process: `python -m counterpoint.plan.cells`.

Standard input is `{"cells": [{"name": ..., "recipe": ..., "overrides": [...]}, ...]}`. Standard output is
`{"cells": {name: plan or {"error": ...}}}`; what a plan holds is told by `planned_cell`. What a recipe names and is not
on this machine is listed as `missing`, and the rest is planned without it.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from counterpoint.adapter import starting_adapter
from counterpoint.config import Config, ModelConfig
from counterpoint.episode import Episode
from counterpoint.errors import AbsentError, CounterpointError, ModelError
from counterpoint.family import only_folders_named_within
from counterpoint.learn import trainable
from counterpoint.locate import check_device
from counterpoint.options import Spec
from counterpoint.plan.check import check_parts, looked_up
from counterpoint.plan.plan import Plan, planned_with, rehearsal_chat
from counterpoint.plan.rehearsal import check_algorithm, rehearsed
from counterpoint.plan.speed import measured_rate
from counterpoint.plan.startable import check_judge
from counterpoint.recipe import find_recipe, load_config
from counterpoint.runtimes import is_elsewhere
from counterpoint.stage import Setup
from counterpoint.tasks import load_tasks
from counterpoint.tasks.base import Splits

if TYPE_CHECKING:
    from counterpoint.algorithms.base import Algorithm
    from counterpoint.base_model import BaseSize
    from counterpoint.chat import Chat
    from counterpoint.learners.footprint import Footprint

T = TypeVar("T")
_STAND_IN = ModelConfig(path="micro-medium")
"""The model whose chat format a rehearsal uses where that of the recipe is not here."""
_STAND_IN_JUDGE = Spec(name="task")
_BYTES_PER_NUMBER = 4
_ADAPTER_AND_MOMENTS = 3
_TRAINED = 6
_EVALUATED = 3
"""Bytes per generated token in the records of training steps and of evaluations, as docs/run_directory.md has them."""
_FORWARD = 0.25
"""The operations of a token that is only generated, as a fraction of those of one that is also learned from."""


@dataclass(slots=True)
class Known:
    """The things that many cells have in common, looked up once: a value, or the error that it raised.

    A key names everything that the value depends on, so that cells share what is equal for both and nothing else.
    """

    found: dict[tuple[str, str], object] = field(default_factory=dict)
    folder: str = ""
    """The folder of the recipe in hand: a module of the user's, `module:name`, is another one in another folder."""

    def of(self, kind: str, key: str, look_up: Callable[[], T]) -> T:
        """The value of `look_up` for this key. Raises the CounterpointError that it raised the first time."""
        if (kind, key) not in self.found:
            try:
                self.found[kind, key] = look_up()
            except CounterpointError as error:
                self.found[kind, key] = error
        value = self.found[kind, key]
        if isinstance(value, CounterpointError):
            raise value
        return cast(T, value)


def planned_cells(cells: Iterable[Mapping[str, Any]], known: Known | None = None) -> dict[str, dict[str, Any]]:
    """Name -> the plan of every cell, or its error; `known` is what earlier ones had in common."""
    known, plans = known or Known(), dict[str, dict[str, Any]]()
    for cell in cells:
        try:
            known.folder = str(find_recipe(cell["recipe"]).parent.resolve())
            with only_folders_named_within():
                plans[cell["name"]] = planned_cell(load_config(cell["recipe"], cell["overrides"]), known)
        except CounterpointError as error:
            plans[cell["name"]] = {"error": str(error)}
        except Exception as error:  # raised by a module of the user
            plans[cell["name"]] = {"error": f"{type(error).__name__}: {error}"}
    return plans


def planned_cell(config: Config, known: Known) -> dict[str, Any]:
    """The plan of one cell, for JSON.

    `calls`: per episode, at most. `memory`: bytes at the peak, null if unknown. `step_seconds` and
    `evaluation_seconds`: floors on this machine; null if unknown. `disk`: bytes of the finished run. `test_tasks`: a
    fingerprint, empty if the data is not here. `warnings`, `missing`: lines. Raises CounterpointError for whatever
    keeps the cell from starting.
    """
    missing: list[str] = []
    _kept(missing, lambda: check_parts(config))
    tasks = _kept(missing, lambda: _tasks(config, known))
    setup = looked_up(config, _stand_in(config, known) if tasks is None else tasks)
    models = {name: own.model for name, own in setup.settings.items() if own.endpoint is None}
    sizes: dict[str, BaseSize] = {}
    for name, model in models.items():
        if not is_elsewhere(config):
            _kept(missing, partial(check_device, model))
        size = _kept(missing, partial(_size, model, known))
        if size is not None:
            sizes[name] = size
    chats = {name: _chat(models.get(name, config.model), known) for name in setup.settings}
    plan = planned_with(
        setup,
        sizes,
        chats,
        lambda setup, chats: _rehearsed(setup, chats, known),
        lambda algorithm, episodes, size: _checked(algorithm, episodes, size, setup, known),
    )
    for name, own in setup.settings.items():
        if own.adapter:
            starting_adapter(Path(own.adapter).expanduser(), policy=name, alpha=own.alpha, rank=own.rank)
    found = {**_estimates(plan, known, complete=len(sizes) == len(models)), "missing": list(dict.fromkeys(missing))}
    return found if tasks is not None else {**found, "test_tasks": "", "warnings": []}


def _estimates(plan: Plan, known: Known, *, complete: bool) -> dict[str, Any]:
    config, splits = plan.config, plan.splits
    episodes = config.rollout.tasks_per_step * config.rollout.group_size
    evaluated = (splits["validation"] + splits["test"]) * config.evaluation.samples
    step = plan.operations_per_step() / _rate(config, known) if complete and config.model.device == "cpu" else None
    return {
        "calls": len(plan.rehearsal.calls),
        "calls_per_step": plan.calls_per_step,
        "not_called": list(plan.not_called),
        "memory": _memory(plan, known) if complete else None,
        "step_seconds": step,
        "evaluation_seconds": None if step is None else step * _FORWARD * evaluated / episodes,
        "disk": _disk(plan, evaluated / episodes),
        "tasks": splits,
        "test_tasks": _fingerprint(plan.setup.tasks, known),
        "warnings": list(plan.warnings),
    }


def _disk(plan: Plan, steps_per_evaluation: float) -> int:
    """Bytes of a finished run: checkpoints, and the records of training and evaluations at the largest lengths.

    An evaluation plays as many episodes as `steps_per_evaluation` training steps.
    """
    config = plan.config
    adapters = {name: plan.adapter_parameters(name) for name in plan.sizes if plan.settings[name].trainable}
    averages = any(one.name == "persistence" for one in config.diagnostics)
    speakers = {policy.name: len(policy.roles) if averages else 0 for policy in plan.setup.routing.policies}
    checkpoint = sum(count * (_ADAPTER_AND_MOMENTS + speakers[name]) for name, count in adapters.items())
    saved = 1 + math.ceil(config.run.steps / config.run.save_every)
    evaluated = 1 + math.ceil(config.run.steps / config.evaluation.every)
    tokens = plan.calls_per_step * config.rollout.max_tokens
    record = tokens * (_TRAINED * config.run.steps + _EVALUATED * evaluated * steps_per_evaluation)
    return round(checkpoint * _BYTES_PER_NUMBER * saved + record)


def _memory(plan: Plan, known: Known) -> int | None:
    from counterpoint.plan.memory import look

    def once(model: ModelConfig, rank: int, checkpointing: bool) -> "Footprint":
        key = f"{model.model_dump_json()} {rank} {checkpointing}"
        return known.of("footprint", key, lambda: look(model, rank, checkpointing))

    config = plan.config
    parts = (config.learner, config.sampler, config.runtime, config.rollout, config.evaluation, config.algorithm)
    policies = [
        (own.model.model_dump_json(), own.rank, own.trainable) for own in map(plan.settings.get, plan.sizes) if own
    ]
    key = " ".join([*(one.model_dump_json() for one in parts), f"{policies} {plan.splits} {id(plan.rehearsal)}"])
    try:
        return known.of("memory", key, lambda: plan.peak(once))
    except ModelError:
        return None


def _fingerprint(tasks: Splits, known: Known) -> str:
    """That of the test split; tasks live as long as what is known."""
    return known.of("fingerprint", str(id(tasks)), lambda: tasks.fingerprints()["test"])


def _rate(config: Config, known: Known) -> float:
    threads = max(1, config.run.threads)
    return known.of("rate", str(threads), lambda: measured_rate(threads))


def _kept(missing: list[str], look: Callable[[], T]) -> T | None:
    """The result of `look`; None, and a line in `missing`, if what it needs is not on this machine."""
    try:
        return look()
    except AbsentError as error:
        missing.append(str(error))
        return None


def _tasks(config: Config, known: Known) -> Splits:
    """The recipe's tasks, whose judge has been started once."""

    def loaded() -> Splits:
        splits = load_tasks(config.task, config.sandbox, config.judge)
        check_judge(splits.judging)
        return splits

    parts = (config.task, config.sandbox, config.judge)
    return known.of("tasks", " ".join([*(one.model_dump_json() for one in parts), known.folder]), loaded)


def _stand_in(config: Config, known: Known) -> Splits:
    """Tasks for a rehearsal, where the data of the recipe's is not here; as many as it says, if it does."""
    given = config.task.options
    counts = {split: given[split] for split in ("validation", "test") if isinstance(given.get(split), int)}
    spec = Spec.model_validate({"name": "arithmetic", "operands": 4, "high": 99, **counts})
    return known.of("tasks", spec.model_dump_json(), lambda: load_tasks(spec, config.sandbox, _STAND_IN_JUDGE))


def _rehearsed(setup: Setup, chats: "Mapping[str, Chat]", known: Known) -> list[Episode]:
    """The rehearsed episodes of a recipe; equal for recipes that differ only in how they are trained."""
    config = setup.config
    played = (config.workflow, config.task, config.judge, config.rollout)
    who = [f"{name} {id(chat)}" for name, chat in chats.items()]  # chats live as long as what is known
    key = " ".join([*(one.model_dump_json() for one in played), str(setup.routing.policy_of), *who, known.folder])
    return known.of("rehearsal", key, lambda: rehearsed(setup, chats))


def _checked(algorithm: "Algorithm", episodes: Sequence[Episode], size: int, setup: Setup, known: Known) -> None:
    """Raises CounterpointError if the algorithm fits none of the episodes, which live as long as what is known."""
    named, longest = setup.config.algorithm.model_dump_json(), setup.config.rollout.max_tokens
    key = f"{named} {longest} {size} {sorted(trainable(setup.settings))} {id(episodes)} {known.folder}"
    known.of("algorithm", key, lambda: check_algorithm(algorithm, episodes, size))


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
    # The user's own modules may print, and so may programs that they start, which know nothing of `sys.stdout`.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        json.dump({"cells": planned_cells(cells)}, out)


if __name__ == "__main__":
    main()
