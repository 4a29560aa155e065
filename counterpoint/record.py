"""The record of a run call by call, as Parquet: the episodes and samples of each step, the episodes of evaluations.

episodes/000120.parquet             the episodes of training step 120, every call with its tokens
samples/000120.parquet              the reward and the advantage of each of their calls
evaluations/test/000120.parquet     the episodes of the test evaluation after step 120
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.analysis.frames import read_calls, read_claim_kinds, read_samples, write_samples
from counterpoint.clock import timed
from counterpoint.episode import Group, read_episodes, without_logprobs, write_episodes
from counterpoint.errors import RunError

if TYPE_CHECKING:
    import polars as pl

FOLDERS = ("episodes", "samples", "evaluations")


class Record:
    """The Parquet files in the directory of a run."""

    def __init__(self, path: Path) -> None:
        """`path` is the directory of the run."""
        self._path = path

    @timed("record")
    def add_episodes(self, step: int, groups: Sequence[Group]) -> None:
        """The episodes of a training step are on disk."""
        write_episodes(self._new_file("episodes", step), step, groups)

    @timed("record")
    def add_samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """The samples of a training step are on disk."""
        write_samples(self._new_file("samples", step), step, rows)

    @timed("record")
    def add_evaluation(self, step: int, split: str, groups: Sequence[Group]) -> None:
        """The episodes of an evaluation are on disk, without log-probabilities, which nothing reads there."""
        write_episodes(self._new_file(f"evaluations/{split}", step), step, without_logprobs(groups), split)

    def steps(self) -> list[int]:
        """The training steps whose episodes are recorded, in order."""
        return _steps(self._path / "episodes")

    def evaluated_steps(self, split: str) -> list[int]:
        """The steps after which an evaluation of the split was made and its episodes recorded, in order."""
        return _steps(self._path / "evaluations" / split)

    def episodes(self, step: int) -> list[Group]:
        """The episodes of a training step, by task. Raises RunError if none are recorded."""
        return read_episodes(self._training_file(step))

    def claim_kinds(self, step: int) -> dict[str, frozenset[str]]:
        """Role -> the kinds of claims of its calls in a training step. Raises RunError if no episodes are recorded."""
        return read_claim_kinds(self._training_file(step))

    def evaluation_episodes(self, step: int, split: str) -> list[Group]:
        """The episodes of an evaluation, by task. Raises RunError if none are recorded."""
        return read_episodes(self._evaluation_file(step, split))

    def calls(self, step: int) -> "pl.DataFrame":
        """One row per call of a training step. Raises RunError if none are recorded."""
        return read_calls(self._training_file(step))

    def evaluation_calls(self, step: int, split: str) -> "pl.DataFrame":
        """One row per call of an evaluation. Raises RunError if none are recorded."""
        return read_calls(self._evaluation_file(step, split))

    def samples(self, step: int) -> "pl.DataFrame":
        """One row per call that got credit, if there was any. Raises RunError if the step has no episodes."""
        self._training_file(step)
        return read_samples(self._file("samples", step), step)

    def episodes_file(self, step: int, split: str | None = None) -> Path:
        """The file of the episodes of a training step, or of an evaluation. Raises RunError if none are recorded."""
        return self._training_file(step) if split is None else self._evaluation_file(step, split)

    def truncate(self, step: int) -> None:
        """Files of later steps, and those that a kill left half written, are deleted."""
        for folder in FOLDERS:
            for file in (self._path / folder).rglob("*.parquet*"):
                if file.name.startswith(".") or int(file.stem) > step:
                    file.unlink()

    def _training_file(self, step: int) -> Path:
        return self._recorded("episodes", step, f"episodes of step {step}")

    def _evaluation_file(self, step: int, split: str) -> Path:
        return self._recorded(f"evaluations/{split}", step, f"episodes of the {split} evaluation at step {step}")

    def _recorded(self, folder: str, step: int, what: str) -> Path:
        file = self._file(folder, step)
        if not file.is_file():
            steps = _steps(self._path / folder)
            known = f"there are: {_listed(steps)}" if steps else "there are none yet"
            raise RunError(f"{self._path} has no {what}; {known}")
        return file

    def _new_file(self, folder: str, step: int) -> Path:
        """The file to be written; its folder exists, also if somebody deleted it, as docs/run_directory.md allows."""
        file = self._file(folder, step)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def _file(self, folder: str, step: int) -> Path:
        return self._path / folder / f"{step:06d}.parquet"


def _steps(folder: Path) -> list[int]:
    return sorted(int(file.stem) for file in folder.glob("[0-9]*.parquet"))


def _listed(steps: Sequence[int]) -> str:
    """The steps, as `1 to 30` where they follow each other."""
    if len(steps) > 1 and steps[-1] - steps[0] == len(steps) - 1:
        return f"{steps[0]} to {steps[-1]}"
    return ", ".join(map(str, steps))
