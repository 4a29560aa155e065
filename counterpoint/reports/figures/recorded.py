"""The numbers of a cell, read once for all of its figures, and the words and names that these have in common."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from counterpoint.errors import counted
from counterpoint.reports import frames
from counterpoint.reports.seen import CellSeen, Seen

if TYPE_CHECKING:
    import polars as pl

POINTS = 60
"""The most points of a line: of more steps, neighbours are drawn as their mean."""
_OF_ROLES = r"^role/(?P<role>[^/]+)/(?P<number>entropy|distance|without_signal)$"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A cell and its numbers; every frame is one of `counterpoint.reports.frames`."""

    cell: CellSeen
    roles: Sequence[str]
    """The roles of all cells in one order, which their colours come from, with those of this cell."""
    compared: tuple[str, ...] | None = None
    """The names that have colours in place of roles and policies, such as those of cells."""

    @cached_property
    def accuracies(self) -> "pl.DataFrame":
        """seed, step, split, value: the team's."""
        return frames.accuracies(self.cell)

    @cached_property
    def gradients(self) -> "pl.DataFrame":
        """seed, step, policy, role, and a column per number of a role's gradient."""
        return frames.gradients(self.cell)

    @cached_property
    def policies(self) -> "pl.DataFrame":
        """seed, step, policy, number, value."""
        return frames.policies(self.cell)

    @cached_property
    def of_roles(self) -> "pl.DataFrame":
        """seed, step, role, number, value: entropy, distance and calls without signal, of training steps."""
        return frames.series(self.cell, _OF_ROLES)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that have a colour: roles first, then policies that are named otherwise."""
        if self.compared is not None:
            return self.compared
        return tuple(dict.fromkeys([*self.roles, *(one for run in self.cell.runs for one in run.policies)]))

    def ordered(self, names: Sequence[str]) -> list[str]:
        """These names in the order of colours, those that are not known last."""
        order = {name: place for place, name in enumerate(self.names)}
        return sorted(set(names), key=lambda name: (order.get(name, len(order)), name))

    def name(self, figure: str) -> str:
        """The name of a figure of this cell."""
        return named(self.cell.name, figure)

    @property
    def seeds(self) -> str:
        """The runs of the cell in words."""
        return "One run." if len(self.cell.begun) == 1 else f"{len(self.cell.begun)} seeds."


def named(*parts: str) -> str:
    """A name for a file, of letters, digits, `-` and `_`; texts with others get a few characters of their digest."""
    return "-".join(_plain(part) for part in parts if part)


def _plain(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:60]
    return plain if plain == text else f"{plain.strip('_')}_{sha256(text.encode(errors='replace')).hexdigest()[:6]}"


def over_seeds(found: "pl.DataFrame") -> "pl.DataFrame":
    """who, step, value, low, high: the mean over seeds, the least and the largest, from who, seed, step and value.

    Of more than `POINTS` steps, each seed's neighbours are averaged first, and the step is their middle.
    """
    import polars as pl

    binned = thinned(found)
    return (
        binned.group_by("who", "step")
        .agg(
            pl.col("value").mean(),
            pl.col("value").min().alias("low"),
            pl.col("value").max().alias("high"),
        )
        .sort("who", "step")
    )


def thinned(found: "pl.DataFrame", *keys: str) -> "pl.DataFrame":
    """The same rows or, of more than `POINTS` steps, the means of neighbours per seed, who and further keys."""
    import polars as pl

    wide = width(found)
    if wide == 1:
        return found
    first = found["step"].min()
    step = (pl.col("step") - first) // wide * wide + first + wide // 2
    return found.with_columns(step).group_by("seed", "who", *keys, "step").agg(pl.col("value").mean())


def width(found: "pl.DataFrame") -> int:
    """The number of neighbouring steps that are one point."""
    steps = found["step"].n_unique()
    if steps <= POINTS:
        return 1
    first, last = found["step"].min(), found["step"].max()
    assert isinstance(first, int)
    assert isinstance(last, int)
    return -(-(last - first + 1) // POINTS)


def binned_in_words(found: "pl.DataFrame") -> str:
    """A sentence if points stand for several steps, else nothing."""
    wide = width(found)
    return f" A point is the mean over {wide} steps." if wide > 1 else ""


def spans_in_words(cell: CellSeen, *, banded: bool) -> str:
    """The sentence about lines and bands over seeds."""
    if len(cell.begun) == 1:
        return "One run."
    bands = ", bands reach from least to most" if banded else ""
    return f"Lines are means over {counted(len(cell.begun), 'seed')}{bands}."


def percent(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:z.1f} %"


def listed(values: Mapping[str, str]) -> str:
    """Names with their values, the first eight."""
    shown = [f"{name} {value}" for name, value in values.items()][:8]
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    return ", ".join(shown) + more


def counting(cell: CellSeen) -> list[Seen]:
    """The finished runs whose end counts: those that no intervention stopped or, if all were stopped, all."""
    return [run for run in cell.finished if not run.record.stopped] or cell.finished
