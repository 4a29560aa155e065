"""The contract of a tracker."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

Ending = Literal["finished", "failed", "interrupted"]
Value = float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A run, as a tracker is told of it when work on it begins."""

    path: Path
    """The run directory, absolute."""
    name: str
    """The name of the run directory; with that of its study before it, if a study made it."""
    group: str
    """The name that the seeds of one cell share."""
    tags: tuple[str, ...]
    """Workflow, sharing, task, model and seed."""
    recipe: Mapping[str, Any]
    """The recipe, every default written out."""
    facts: Mapping[str, Any]
    """The content of `run.json`."""
    folder: Path
    """The folder in which the tracker may write; it exists."""
    id: str
    """The id of the tracked run that is continued; empty if there is none yet."""
    place: str
    """The place of that one; empty if there is none yet."""
    process: int
    """The id of the process that trains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A tracked run."""

    id: str
    """The name by which the tracker finds it again."""
    place: str
    """The address or the path at which a person finds it."""
    is_empty: bool = False
    """True if it holds nothing, also where it had held something, so that everything is sent from the beginning."""


class Tracker(ABC):
    """Sends the numbers of a run somewhere. It lives in a process of its own, whose output is kept in a file.

    An error in a method is recorded, and the call is made again after a pause; it never reaches the run. The arguments
    of the constructor are its options in a recipe.
    """

    package: ClassVar[str] = ""
    """The package that it needs, by the name that it is imported by."""
    extra: ClassVar[str] = ""
    """The extra that installs it."""
    live: bool = True
    """True if a step is sent at once; else when a checkpoint holds it, so that it is never repeated."""

    @abstractmethod
    def begin(self, about: About) -> Tracked:
        """The tracked run exists; it is that of `about.id` if there was one."""

    @abstractmethod
    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """The tracked run has these numbers at this step. Numbers of one step may come in several calls."""

    def summarize(self, values: Mapping[str, Value]) -> None:  # noqa: B027 - not every tracker has a place for it
        """The tracked run has these values of the whole run; they replace those of the same names."""

    def end(self, ending: Ending) -> None:  # noqa: B027 - not every tracker has something to close
        """Everything is sent, and the tracked run says how the work on it ended."""
