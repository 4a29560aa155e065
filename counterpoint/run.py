"""A run is a directory: everything needed to read it, to compare it, and to go on with it after being killed.

    config.toml                         the recipe, every default written out
    run.json                            versions, commit, hardware, task fingerprints, roles
    metrics.jsonl                       one line a step
    profile.jsonl                       where its time went, in a run that was started with --profile
    episodes/000120.parquet             what was said at step 120
    samples/000120.parquet              what credit and advantage made of it
    evaluations.jsonl                   one line an evaluation, with the outcome of every task
    checkpoints/000120/<policy>/        a PEFT adapter and its optimizer; beside it `state.json` and interventions
    summary.json                        base, peak, terminal
    run.lock                            held while a process works on the run

A checkpoint is written beside its place and renamed, so it is whole or absent. Lines are appended, and a torn last line
is what a kill leaves behind; `restore` takes away whatever came after the checkpoint from which the run goes on.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from counterpoint.clock import timed
from counterpoint.config import Config
from counterpoint.episode import Group, write_episodes
from counterpoint.errors import RunError
from counterpoint.recipe import load_config

FORMAT = 4
METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
PROFILE = "profile.jsonl"


class Stateful(Protocol):
    """A part of training that a checkpoint holds."""

    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path) -> None: ...


class Run:
    """One run directory. Made by `create` or `open`, which lock it, and given back by `close`."""

    def __init__(self, path: Path, config: Config, lock: int | None) -> None:
        self.path = path
        self.config = config
        self._lock = lock

    @classmethod
    def create(cls, path: Path, config: Config, facts: Mapping[str, Any]) -> "Run":
        """A new run at `path`, locked. Raises RunError if something is there already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if (path / "config.toml").is_file():
                raise RunError(
                    f"{path} already holds a run: go on with `counterpoint resume {path}`, or choose another"
                )
            raise RunError(f"{path} exists and is not empty: choose another directory for the run")
        path.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        for folder in ("episodes", "samples", "checkpoints"):
            (path / folder).mkdir()
        _write(path / "run.json", json.dumps({"format": FORMAT, **facts}, indent=2) + "\n")
        _write(path / "config.toml", config.toml())
        return cls(path, config, lock)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run, locked, to go on with.

        Raises RunError if it is not a run, another process works on it, or another version began it.
        """
        run = cls.read(path)
        if run.facts.get("format") != FORMAT:
            raise RunError(
                f"{path} is a run of format {run.facts.get('format')}, which can be read but not gone on with: this"
                f" version writes format {FORMAT}"
            )
        return cls(path, run.config, _lock(path))

    @classmethod
    def read(cls, path: Path) -> "Run":
        """An existing run, to look at only. Raises RunError if it is not one."""
        if not (path / "config.toml").is_file() or not (path / "run.json").is_file():
            raise RunError(f"{path} is not a run directory: it has no config.toml and run.json")
        return cls(path, load_config(path / "config.toml"), None)

    def close(self) -> None:
        """Another process may work on the run from here on."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def facts(self) -> dict[str, Any]:
        """What `run.json` says."""
        return dict(json.loads((self.path / "run.json").read_text()))

    def pin(self, facts: Mapping[str, Any]) -> None:
        """`run.json` says so too. Raises RunError if it said otherwise before: then this would be another run."""
        known = self.facts
        for name, value in json.loads(json.dumps(facts)).items():
            if name in known and known[name] != value:
                raise RunError(f"{self.path}: {name} changed since the run began: {known[name]} then, {value} now")
        _write(self.path / "run.json", json.dumps({**known, **facts}, indent=2) + "\n")

    def note(self, facts: Mapping[str, Any]) -> None:
        """`run.json` says so from here on, whatever it said before."""
        _write(self.path / "run.json", json.dumps({**self.facts, **facts}, indent=2) + "\n")

    def add_metrics(self, step: int, numbers: Mapping[str, float]) -> None:
        self._append(METRICS, {"step": step, **numbers})

    def add_evaluation(self, row: Mapping[str, Any]) -> None:
        self._append(EVALUATIONS, row)

    def start_profile(self) -> None:
        """From here on, resumed or not, the run keeps a profile: where the time of each step went."""
        (self.path / PROFILE).touch()

    def add_profile(self, step: int, seconds: Mapping[str, float]) -> None:
        """Written down if the run keeps a profile."""
        if (self.path / PROFILE).exists():
            self._append(PROFILE, {"step": step, **seconds})

    @timed("record")
    def add_episodes(self, step: int, groups: Sequence[Group]) -> None:
        write_episodes(self.path / "episodes" / f"{step:06d}.parquet", step, groups)

    @timed("record")
    def add_samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        path = self.path / "samples" / f"{step:06d}.parquet"
        partial = path.with_name(f".{path.name}.partial")
        pl.DataFrame(rows, schema=SAMPLE_SCHEMA).write_parquet(partial, compression="zstd")
        partial.replace(path)

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole line of `metrics.jsonl`."""
        return list(_lines(self.path / METRICS))

    def profile(self) -> list[dict[str, Any]]:
        """Every whole line of `profile.jsonl`; none if the run keeps no profile."""
        return list(_lines(self.path / PROFILE))

    def evaluations(self) -> list[dict[str, Any]]:
        """Every whole line of `evaluations.jsonl`."""
        return list(_lines(self.path / EVALUATIONS))

    @timed("checkpoint")
    def checkpoint(self, step: int, parts: Mapping[str, Stateful], state: Mapping[str, Any]) -> None:
        """`checkpoints/<step>` holds every part and `state`, on disk and whole."""
        final = self.checkpoint_path(step)
        partial = final.with_name(f".{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, part in parts.items():
            folder = partial if name == "learner" else partial / name
            folder.mkdir(exist_ok=True)
            part.save(folder)
        _write(partial / "state.json", json.dumps({"format": FORMAT, "step": step, **state}, indent=2) + "\n")
        for file in partial.rglob("*"):
            _sync(file)
        partial.rename(final)
        _sync(final.parent)

    def checkpoint_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"{step:06d}"

    def checkpoints(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        return sorted(int(path.name) for path in (self.path / "checkpoints").iterdir() if path.name.isdecimal())

    def saved_step(self, step: int | None) -> int:
        """The step of a checkpoint: this one, or the last. Raises RunError if it does not have it."""
        saved = self.checkpoints()
        if not saved or (step is not None and step not in saved):
            known = ", ".join(map(str, saved)) or "none"
            which = "checkpoint" if step is None else f"checkpoint of step {step}"
            raise RunError(f"{self.path} has no {which}; there are: {known}")
        return saved[-1] if step is None else step

    def restore(self, parts: Mapping[str, Stateful]) -> int | None:
        """The parts are as they were at the last checkpoint, whose step is returned; what came after it is gone.

        None if there is no checkpoint: then the directory is as it was when the run was created.
        """
        saved = self.checkpoints()
        step = saved[-1] if saved else None
        self._truncate(-1 if step is None else step)
        if step is not None:
            self.load_checkpoint(step, parts)
        return step

    def steps_left(self, step: int) -> range:
        """The steps to be done after `step`; none if the run was stopped there."""
        stopped = step in self.checkpoints() and self.checkpoint_state(step)["stopped"] is not None
        return range(0) if stopped else range(step + 1, self.config.run.steps + 1)

    def load_checkpoint(self, step: int, parts: Mapping[str, Stateful]) -> None:
        """The parts are as they were at `step`. Raises RunError if there is no such checkpoint."""
        folder = self.checkpoint_path(step)
        if not folder.is_dir():
            known = ", ".join(map(str, self.checkpoints())) or "none"
            raise RunError(f"{self.path} has no checkpoint of step {step}; there are: {known}")
        for name, part in parts.items():
            part.load(folder if name == "learner" else folder / name)

    def checkpoint_state(self, step: int) -> dict[str, Any]:
        """What was saved beside the parts."""
        return dict(json.loads((self.checkpoint_path(step) / "state.json").read_text()))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        _write(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.path / name).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _truncate(self, step: int) -> None:
        profile = [PROFILE] if (self.path / PROFILE).exists() else []
        for name in (METRICS, EVALUATIONS, *profile):
            kept = [row for row in _lines(self.path / name) if row["step"] <= step]
            _write(self.path / name, "".join(json.dumps(row) + "\n" for row in kept))
        for folder in ("episodes", "samples"):
            for file in (self.path / folder).glob("*.parquet*"):
                if file.name.startswith(".") or int(file.stem) > step:
                    file.unlink()
        for leftover in (self.path / "checkpoints").glob(".*"):
            shutil.rmtree(leftover)
        (self.path / "summary.json").unlink(missing_ok=True)


SAMPLE_SCHEMA: dict[str, Any] = {
    "task": pl.String,
    "rollout": pl.Int32,
    "role": pl.String,
    "slot": pl.Int32,
    "turn": pl.Int32,
    "reward": pl.Float64,
    "advantage": pl.Float64,
    "signal": pl.Boolean,
    "in_loss": pl.Boolean,
}


def _lock(path: Path) -> int:
    descriptor = os.open(path / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunError(f"{path} is in use: another process works on this run") from None
    return descriptor


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file; a last line without its end is not a row yet."""
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            return
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise RunError(f"{path}, line {number} is damaged: {error}") from error


def _write(path: Path, text: str) -> None:
    """`path` holds `text`: all of it or what it held before."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
