"""A run is a directory that holds everything needed to read it, to compare it, and to resume it after a kill.

    config.toml                         the recipe, every default written out
    run.json                            versions, commit, hardware, task fingerprints, routing
    metrics.jsonl                       one line per step
    episodes/000120.parquet             the episodes of step 120, every call with its tokens
    evaluations.jsonl                   one line per evaluation, with the outcome of every task
    checkpoints/000120/<policy>/        a PEFT adapter and its optimizer; beside it `state.json` and interventions
    summary.json                        accuracy at the base, at the peak and at the end

`docs/run_directory.md` describes every file and column; these are the main ones. A checkpoint is written beside its
place and renamed, so it is whole or absent. Lines are appended, and a kill may leave a torn last line; `restore`
removes whatever came after the checkpoint from which the run is resumed.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from counterpoint.analysis.frames import evaluations_frame, numbers_frame, outcomes_frame
from counterpoint.analysis.summary import Summary, summarize
from counterpoint.clock import timed
from counterpoint.config import Config
from counterpoint.episode import Group
from counterpoint.errors import RunError, RunInUseError
from counterpoint.files import RowReader, append_row, command, is_locked, partial_of, read_rows, sync, write_whole
from counterpoint.recipe import load_written
from counterpoint.record import Record
from counterpoint.run_files import (
    CONFIG,
    EVALUATIONS,
    FACTS,
    FINAL,
    LOCK,
    METRICS,
    PROFILE,
    SUMMARY,
    clear,
    is_run,
    is_unfinished,
    locked,
    nothing_at,
    number_in,
    refuse_occupied,
    write_first_files,
)
from counterpoint.run_files import Step as Step

if TYPE_CHECKING:
    import polars as pl

FORMAT = 5
NO_COPIES: Mapping[str, bytes] = MappingProxyType({})


class Stateful(Protocol):
    """A part of training whose state a checkpoint holds."""

    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path) -> None: ...


class Run:
    """One run directory. `create` and `open` lock it until `close`; `read` opens it to be looked at only."""

    is_new = False
    """True if this object created the run."""
    _made_folder = False

    def __init__(self, path: Path, config: Config, descriptor: int | None) -> None:
        self.path = path
        self.config = config
        self._record = Record(path)
        self._descriptor = descriptor

    @classmethod
    def create(
        cls, path: str | Path, config: Config, facts: Mapping[str, Any], copies: Mapping[str, bytes] = NO_COPIES
    ) -> "Run":
        """A new run at `path`, locked, with the `copies` of sources: path below `sources/` -> text.

        The directory is new, empty, or what is left of a `create` that was killed. Raises RunError if it is anything
        else, RunInUseError if another process creates a run there at this moment or works on it.
        """
        path = Path(path).expanduser()
        refuse_occupied(path)
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        descriptor = locked(path)
        try:
            refuse_occupied(path, is_mine=True)  # another process may have created a run before this one got the lock
        except RunError:
            os.close(descriptor)
            raise
        try:
            write_first_files(path, {"format": FORMAT, **facts}, config.toml(), copies)
        except BaseException:
            os.close(descriptor)
            clear(path, keep=not made)
            raise
        run = cls(path, config, descriptor)
        run.is_new, run._made_folder = True, made
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing run, locked, to be resumed.

        Raises RunError if it is not a run or another version of the format wrote it, RunInUseError if another process
        works on it.
        """
        run = cls.read(path)
        path = run.path
        if run.facts.get("format") != FORMAT:
            raise RunError(
                f"{path} is a run of format {run.facts.get('format')}, which can be read but not resumed: this version"
                f" writes format {FORMAT}"
            )
        return cls(path, run.config, locked(path))

    @classmethod
    def read(cls, path: str | Path) -> "Run":
        """An existing run, without locking it. Raises RunError if it is not one."""
        path = Path(path).expanduser()
        if is_unfinished(path):
            if is_locked(path / LOCK):
                raise RunInUseError(f"{path} holds no run yet: another process is creating it at this moment")
            raise RunError(
                f"{path} holds no run yet: the process that was creating it ended before it wrote {CONFIG}; start the"
                f" run again with `{command('train', 'RECIPE', '--out', path)}`"
            )
        if not is_run(path):
            raise RunError(nothing_at(path))
        return cls(path, load_written(path / CONFIG), None)

    def close(self) -> None:
        """The lock is released: another process may work on the run."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_locked(self) -> bool:
        """True if a process works on the run now, be it this one."""
        return is_locked(self.path / LOCK)

    # What is known about the run

    @property
    def facts(self) -> dict[str, Any]:
        """The content of `run.json`."""
        return dict(json.loads((self.path / FACTS).read_text(encoding="utf-8")))

    def pin(self, facts: Mapping[str, Any]) -> None:
        """`run.json` holds these facts too. Raises RunError if one had another value: that is another run."""
        known = self.facts
        for name, value in json.loads(json.dumps(facts)).items():
            if name in known and known[name] != value:
                raise RunError(f"{self.path}: {name} changed since the run began: {known[name]} then, {value} now")
        self.note(facts)

    def note(self, facts: Mapping[str, Any]) -> None:
        """`run.json` holds these facts, whatever values they had before."""
        write_whole(self.path / FACTS, json.dumps({**self.facts, **facts}, indent=2) + "\n")

    def forget(self, fact: str) -> None:
        """`run.json` does not hold this fact."""
        known = self.facts
        if known.pop(fact, None) is not None:
            write_whole(self.path / FACTS, json.dumps(known, indent=2) + "\n")

    def discard(self) -> None:
        """The run is gone, with its directory if `create` made it."""
        clear(self.path, keep=not self._made_folder)

    # Writing

    def add_metrics(self, step: int, numbers: Mapping[str, float]) -> None:
        append_row(self.path / METRICS, {"step": step, **numbers})

    def add_evaluation(self, row: Mapping[str, Any], groups: Sequence[Group] = ()) -> None:
        """`evaluations.jsonl` has this row, and `evaluations/` its episodes if they are given."""
        if groups:
            self._record.add_evaluation(row["step"], row["split"], groups)
        append_row(self.path / EVALUATIONS, row)

    def add_final(self, row: Mapping[str, Any]) -> None:
        """`final.jsonl` has this row."""
        append_row(self.path / FINAL, row)

    def start_profile(self) -> None:
        """The run keeps a profile from now on, also after it is resumed: where the time of each step went."""
        (self.path / PROFILE).touch()

    def add_profile(self, step: int, seconds: Mapping[str, float]) -> None:
        """The profile, if the run keeps one, has a row for this step."""
        if (self.path / PROFILE).exists():
            append_row(self.path / PROFILE, {"step": step, **seconds})

    def add_episodes(self, step: int, groups: Sequence[Group]) -> None:
        self._record.add_episodes(step, groups)

    def add_samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self._record.add_samples(step, rows)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_whole(self.path / SUMMARY, json.dumps(summary, indent=2) + "\n")

    # Reading

    def metrics(self) -> "pl.DataFrame":
        """One row per training step: `step`, and a column per number of `docs/metrics.md`; null where it is missing."""
        return numbers_frame(self.metric_rows())

    def evaluations(self) -> "pl.DataFrame":
        """One row per (step, split): step, split, accuracy, rolled_back, tasks, and a column per number."""
        return evaluations_frame(self.evaluation_rows())

    def finals(self) -> "pl.DataFrame":
        """One row per final evaluation of a checkpoint, with the columns of `evaluations`; no rows if there is none."""
        return evaluations_frame(self.final_rows())

    def outcomes(self) -> "pl.DataFrame":
        """One row per (step, split, role, task) of the evaluations: outcomes and their mean; role null for the team."""
        return outcomes_frame(self.evaluation_rows())

    def profile(self) -> "pl.DataFrame":
        """One row per step: seconds per part of the step; no rows if the run keeps no profile."""
        return numbers_frame(self.profile_rows())

    def metric_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `metrics.jsonl`."""
        return read_rows(self._file(METRICS))

    def evaluation_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `evaluations.jsonl`."""
        return read_rows(self._file(EVALUATIONS))

    def final_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `final.jsonl`; none if the run has no final evaluations."""
        return read_rows(self._file(FINAL))

    def profile_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `profile.jsonl`; none if the run keeps no profile."""
        return read_rows(self._file(PROFILE))

    def follow_evaluations(self) -> RowReader:
        """A reader of `evaluations.jsonl` while it grows."""
        return RowReader(self.path / EVALUATIONS)

    def steps_with_episodes(self, split: str | None = None) -> list[int]:
        """The steps whose episodes are recorded, in order: of training, or of the evaluations of a split."""
        return self._record.steps() if split is None else self._record.evaluated_steps(split)

    def episodes(self, step: int) -> list[Group]:
        """The episodes of a training step, by task. Raises RunError if the run has none of that step."""
        return self._record.episodes(step)

    def claim_kinds(self, step: int) -> dict[str, frozenset[str]]:
        """Role -> the kinds of claims of its calls in a training step, such as answer, unreadable; empty without any.

        Raises RunError if the run has no episodes of that step.
        """
        return self._record.claim_kinds(step)

    def evaluation_episodes(self, step: int, split: str = "test") -> list[Group]:
        """The episodes of the evaluation of a split after a step (0 is the base), by task, without log-probabilities.

        Raises RunError if the run has none.
        """
        return self._record.evaluation_episodes(step, split)

    def calls(self, step: int, split: str | None = None) -> "pl.DataFrame":
        """One row per call of a training step, or of an evaluation of a split: where it belongs, its fields.

        Joins with `samples` on step, task, rollout, solo, role, slot and turn. Raises RunError if the run has none.
        """
        return self._record.calls(step) if split is None else self._record.evaluation_calls(step, split)

    def samples(self, step: int) -> "pl.DataFrame":
        """One row per call that got credit in a training step: its reward, advantage, signal and in_loss.

        Without rows if the run was killed before credit was given. Raises RunError if it has no such step.
        """
        return self._record.samples(step)

    @property
    def summary(self) -> Summary | None:
        """The content of `summary.json`; None before the run ended, or if it ended without an evaluation."""
        path = self._file(SUMMARY)
        plain = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return Summary.from_dict(plain) if plain else None

    @property
    def is_finished(self) -> bool:
        """True if the run has done its last step, or an intervention stopped it."""
        return (self.path / SUMMARY).is_file()

    # Checkpoints

    @timed("checkpoint")
    def checkpoint(self, step: int, parts: Mapping[str, Stateful], state: Mapping[str, Any]) -> None:
        """`checkpoints/<step>` holds every part and `state`, on disk and whole."""
        final = self.checkpoint_path(step)
        partial = partial_of(final)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, part in parts.items():
            folder = partial if name == "learner" else partial / name
            folder.mkdir(exist_ok=True)
            part.save(folder)
        write_whole(partial / "state.json", json.dumps({"format": FORMAT, "step": step, **state}, indent=2) + "\n")
        for file in partial.rglob("*"):
            sync(file)
        partial.rename(final)
        sync(final.parent)

    def checkpoint_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"{step:06d}"

    def checkpoints(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        return sorted(int(path.name) for path in (self.path / "checkpoints").iterdir() if path.name.isdecimal())

    def saved_step(self, step: Step | None) -> int:
        """The step of a checkpoint: the given one, that of the peak, or the last if None.

        Raises RunError, which names the saved steps, if there is no such checkpoint.
        """
        saved, wanted = self.checkpoints(), self.number_of(step)
        if not saved or (wanted is not None and wanted not in saved):
            known = ", ".join(map(str, saved)) or "none"
            which = "" if wanted is None else f" of step {wanted}" if wanted == step else f" of its peak, step {wanted}"
            near = f"; the nearest is {min(saved, key=lambda one: abs(one - (wanted or 0)))}" if saved else ""
            raise RunError(f"{self.path} has no checkpoint{which}; there are: {known}{near}")
        return saved[-1] if wanted is None else wanted

    def number_of(self, step: Step | None) -> int | None:
        """The number of a step that may be named; None for the last. Raises RunError if there is no peak yet."""
        if isinstance(step, str) and step in ("peak", "best"):
            found = self.summary or summarize(self.evaluation_rows())
            if found is None:
                raise RunError(f"{self.path} has no peak yet: it was not evaluated after training began")
            return found.peak_step
        return number_in(step)

    def restore(self, parts: Mapping[str, Stateful]) -> int | None:
        """The parts have the state of the last checkpoint, whose step is returned; what came after it is deleted.

        None if there is no checkpoint: then the directory is as it was when the run was created.
        """
        step = max(self.checkpoints(), default=None)
        self._truncate(-1 if step is None else step)
        if step is not None:
            self.load_checkpoint(step, parts)
        return step

    def steps_left(self, step: int) -> range:
        """The steps that remain after `step`; none if the run was stopped there."""
        stopped = step in self.checkpoints() and self.checkpoint_state(step)["stopped"] is not None
        return range(0) if stopped else range(step + 1, self.config.run.steps + 1)

    def load_checkpoint(self, step: int, parts: Mapping[str, Stateful]) -> None:
        """The parts have the state that was saved at `step`. Raises RunError if there is no such checkpoint."""
        folder = self.checkpoint_path(self.saved_step(step))
        for name, part in parts.items():
            part.load(folder if name == "learner" else folder / name)

    def checkpoint_state(self, step: int) -> dict[str, Any]:
        """The content of the checkpoint's `state.json`: digests of the adapters, and why the run was stopped."""
        return dict(json.loads((self.checkpoint_path(step) / "state.json").read_text(encoding="utf-8")))

    def _file(self, name: str) -> Path:
        if not is_run(self.path):  # as after a change of the current directory
            raise RunError(nothing_at(self.path))
        return self.path / name

    def _truncate(self, step: int) -> None:
        profile = [PROFILE] if (self.path / PROFILE).exists() else []
        for name in (METRICS, EVALUATIONS, *profile):
            kept = [row for row in read_rows(self.path / name) if row["step"] <= step]
            write_whole(self.path / name, "".join(json.dumps(row) + "\n" for row in kept))
        if rows := [] if self.steps_left(step) else self.final_rows():  # of this step, where the run goes on
            write_whole(self.path / FINAL, "".join(json.dumps(row) + "\n" for row in rows))
        else:  # also if it holds no more than the beginning of a line, to which the next one would be appended
            (self.path / FINAL).unlink(missing_ok=True)
        self._record.truncate(step)
        for leftover in (self.path / "checkpoints").glob(".*"):
            shutil.rmtree(leftover)
        (self.path / SUMMARY).unlink(missing_ok=True)
