"""The runs in a folder: what each is and how far it came, without reading its episodes."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from counterpoint.errors import CounterpointError, RunError
from counterpoint.run import Run
from counterpoint.run_files import FAILURE, is_run

State = Literal["running", "finished", "stopped", "failed", "interrupted", "debris", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """A run in a few words; what an unreadable or not yet created run does not say is empty or None."""

    path: Path
    state: State
    """running: a process works on it; finished: it did all its steps; stopped: an intervention ended it; failed: an
    error or a signal ended it, which `problem` names; interrupted: it has to be resumed; debris: its creation was
    killed; unreadable: `problem` says why."""
    recipe: str = ""
    """The recipe's name as it was given to `train`."""
    overrides: str = ""
    """The overrides as they were given to `train`, separated by spaces."""
    workflow: str = ""
    task: str = ""
    model: str = ""
    """The base model's path."""
    sharing: str = ""
    """The name of the sharing, or its table as JSON."""
    seed: int | None = None
    steps: int = 0
    """Training steps that are recorded."""
    planned: int | None = None
    """Training steps that the recipe asks for."""
    base: float | None = None
    """The team's validation accuracy before training."""
    last: float | None = None
    """The team's validation accuracy at the last evaluation."""
    problem: str = ""


def list_runs(folder: Path) -> list[RunHeader]:
    """The headers of all runs in `folder`, by path; of `folder` itself if it is a run.

    A run that cannot be read is listed as such. Raises RunError if there is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder: name one that holds runs")
    return [read_header(path) for path in sorted(_run_folders(folder))]


def read_header(path: Path) -> RunHeader:
    """The header of the run at `path`."""
    if not (path / "config.toml").is_file():
        return RunHeader(path=path, state="debris")
    try:
        return _header(Run.read(path))
    except (CounterpointError, OSError, ValueError, KeyError) as error:
        return RunHeader(path=path, state="unreadable", problem=str(error))


def _header(run: Run) -> RunHeader:
    config, facts = run.config, run.facts
    sharing = config.policies.sharing
    metrics = run.metric_rows()
    accuracy = [row["accuracy"] for row in run.evaluation_rows() if row["split"] == "validation"]
    return RunHeader(
        path=run.path,
        state=_state(run),
        recipe=str(facts.get("recipe", "")),
        overrides=" ".join(facts.get("overrides", [])),
        workflow=config.workflow.name,
        task=config.task.name,
        model=config.model.path,
        sharing=sharing if isinstance(sharing, str) else json.dumps(sharing),
        seed=config.run.seed,
        steps=metrics[-1]["step"] if metrics else 0,
        planned=config.run.steps,
        base=accuracy[0] if accuracy else None,
        last=accuracy[-1] if accuracy else None,
        problem=_problem(run),
    )


def _problem(run: Run) -> str:
    """The reason for which the run failed: what its study wrote down, or it did; empty if it did not fail."""
    told = run.path / FAILURE
    if run.is_finished or run.is_locked:
        return ""
    if told.is_file():
        return str(json.loads(told.read_text(encoding="utf-8")).get("reason", ""))
    return str(run.facts.get("error", ""))


def _state(run: Run) -> State:
    if run.is_locked:
        return "running"
    if run.is_finished:
        last = run.checkpoints()[-1:]
        return "stopped" if last and run.checkpoint_state(last[0])["stopped"] is not None else "finished"
    return "failed" if _problem(run) else "interrupted"


def _run_folders(folder: Path) -> Iterator[Path]:
    """Every run directory in `folder`; they are not searched for others. A link is one if it leads to a run."""
    for place, folders, files in os.walk(folder):
        if "run.lock" in files or {"run.json", "config.toml"} <= set(files):
            folders.clear()
            yield Path(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [Path(place, name) for name in folders if Path(place, name).is_symlink()]
        yield from (link for link in links if is_run(link))  # and not further: a link may lead back to where it is
