"""The rows of a run's files, as trackers are sent them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.analysis.falls import fate_of
from counterpoint.files import RowReader
from counterpoint.run import Run
from counterpoint.run_files import EVALUATIONS, FINAL, METRICS
from counterpoint.trackers._names import tracked_name
from counterpoint.trackers.base import About, Value
from counterpoint.trackers.state import FOLDER

_CELLS = "cells.json"
"""In the folder of a study, above its runs."""
_TRAINING = "training"
_INTERVALS = ("base", "peak", "terminal", "gain", "drop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The numbers of a step, or of an evaluation."""

    kind: str
    """Rows of one kind come in the order of their steps; each final evaluation is of its own kind."""
    step: int
    numbers: Mapping[str, float]
    """By the names that trackers show."""

    @property
    def is_final(self) -> bool:
        return self.kind.startswith("final")


class Rows:
    """Reads a run's files while they grow: each row once."""

    def __init__(self, run: Run) -> None:
        self._metrics, self._evaluations, self._finals = (
            RowReader(run.path / name) for name in (METRICS, EVALUATIONS, FINAL)
        )

    def new(self) -> list[Row]:
        """The rows since the last call: an evaluation after the training step that it follows, final ones last."""
        found = [_of_step(row) for row in self._metrics.new_rows()]  # first: then no evaluation between them is missed
        found += [_of_evaluation(row, "eval", row["split"]) for row in self._evaluations.new_rows()]
        found += [_of_evaluation(row, "final", _kind_of_final(row)) for row in self._finals.new_rows()]
        return sorted(found, key=lambda row: (row.is_final, row.step, row.kind != _TRAINING))


def _of_step(row: Mapping[str, Any]) -> Row:
    numbers = {tracked_name(name): float(value) for name, value in row.items() if name != "step"}
    return Row(kind=_TRAINING, step=row["step"], numbers=numbers)


def _of_evaluation(row: Mapping[str, Any], part: str, kind: str) -> Row:
    numbers = {"accuracy": row["accuracy"], **row["numbers"]}
    named = {tracked_name(f"{part}/{row['split']}/{name}"): float(value) for name, value in numbers.items()}
    return Row(kind=kind, step=row["step"], numbers=named)


def _kind_of_final(row: Mapping[str, Any]) -> str:
    """With the episodes per task: the final evaluations of a run that gets more of them are other rows."""
    return f"final/{max(map(len, row['outcomes'].values()), default=0)}/{row['step']}"


def about(run: Run, *, id: str, place: str, process: int) -> About:
    """A run, as a tracker is told of it."""
    path, config = run.path.resolve(), run.config
    folder = path / FOLDER
    folder.mkdir(exist_ok=True)
    study = path.parent.name if (path.parent / _CELLS).is_file() else ""
    seed = f"s{config.run.seed}"
    sharing = config.policies.sharing if isinstance(config.policies.sharing, str) else "table"
    name = path.name
    cell = name.removesuffix(f"-{seed}") if study else config.cell.removesuffix(f"-{seed}")
    labels = [config.workflow.name, sharing, config.task.name, Path(config.model.path).name, seed]
    return About(
        path=path,
        name=f"{study}/{name}" if study else name,
        group=f"{study}/{cell}" if study else cell,
        tags=tuple(dict.fromkeys([*labels, *([study, cell] if study else [])])),
        recipe=config.model_dump(exclude_none=True, mode="json"),
        facts=run.facts,
        folder=folder,
        id=id,
        place=place,
        process=process,
    )


def summary_of(run: Run) -> dict[str, Value]:
    """Base, peak, terminal, gain and drop with their intervals, whether the run fell, and what happened in words.

    Empty before the run ended.
    """
    summary = run.summary
    if summary is None:
        return {}
    table = summary.as_dict()
    values: dict[str, Value] = {}
    for name in _INTERVALS:
        values[name] = table[name]["value"]
        values |= {f"{name}_{bound}": table[name][bound] for bound in ("low", "high")}
    stopped = _stopped(run)
    fate = fate_of(run.evaluation_rows(), run.final_rows(), stopped)
    values |= {"steps": float(max((row["step"] for row in run.metric_rows()), default=0))}
    values |= {"peak_step": float(summary.peak_step), "fell": "cannot tell" if fate is None else fate.fell}
    values |= {"verdict": " ".join(summary.verdict)}
    return values | ({"stopped": stopped} if stopped else {})


def _stopped(run: Run) -> str:
    saved = run.checkpoints()
    return str(run.checkpoint_state(saved[-1])["stopped"] or "") if saved else ""
