"""What a row is: a claim about speed, measured side by side in one run, beside the target that it is held to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach, such as `>= 5`."""

    sign: Literal["<=", ">="]
    bound: float

    def met(self, value: float) -> bool:
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that was measured: the median of several, with the lowest and the highest."""

    name: str
    values: Sequence[float]
    target: Target | None = None
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """What it was made of, such as the seconds of each side; a value a repeat, or one a size."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth knowing: what was compared, on how much work."""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None if there is none."""
        return None if self.target is None else self.target.met(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A number that was not measured, and why."""

    name: str
    reason: str
    target: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How everything is measured."""

    repeats: int = 5
    threads: int = 1
    """Of torch on the CPU, on both sides."""
    device: str = "cpu"
    model: str = "micro-medium"
    """A shipped model, a folder, or a shape of `_models.SHAPES` with random weights. The rows `sampling`, `learning`
    and `floor` use it."""
    tiny: bool = False
    """Sizes at which a row takes seconds: whether it works can be seen, its figures mean nothing."""
    quick: bool = False
    """A part of the work, so that every row that needs no peer is measured in three minutes."""

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        return "float32" if self.device == "cpu" else "bfloat16"

    def size(self, full: T, tiny: T, quick: T | None = None) -> T:
        """One of the three; `full` where there is no smaller one for a quick run."""
        if self.tiny:
            return tiny
        return quick if self.quick and quick is not None else full


Row = Callable[[Setting], Iterator[Figure | Missing]]
"""Gives its figures as they are measured."""
