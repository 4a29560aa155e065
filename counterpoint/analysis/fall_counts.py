"""The runs of a study that fell, counted by workflow, sharing and every other label: no forecast."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from counterpoint.analysis.falls import Fell, bracket, rate

Count = Annotated[int, Field(ge=0)]
_APART = ("workflow", "sharing")


class Fate(NamedTuple):
    """A finished run, and whether it fell."""

    workflow: str
    sharing: str
    labels: Mapping[str, str]
    fell: Fell


class FallCount(BaseModel):
    """The runs of one workflow and one sharing, of all labels or of one label of an axis."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    workflow: str
    sharing: str
    axis: str
    """Empty for all runs of the workflow and the sharing."""
    label: str
    fell: Count
    told: Count
    """Those that fell or held."""
    cannot_tell: Count

    @model_validator(mode="after")
    def _is_count(self) -> "FallCount":
        if self.fell > self.told:
            raise ValueError(f"{self.fell} of {self.told} runs cannot have fallen")
        return self

    @property
    def words(self) -> str:
        """`4 of 11 [15 %, 65 %]`, with Wilson's interval, which runs of which it cannot be told widen on both sides."""
        found = rate(self.fell, self.told, cannot_tell=self.cannot_tell)
        unclear = f" and {self.cannot_tell} that cannot be told" if self.cannot_tell else ""
        return f"{self.fell} of {self.told}{unclear} {bracket(found.low, found.high)}"


def fall_counts(fates: Iterable[Fate]) -> tuple[FallCount, ...]:
    """The counts of every workflow and sharing, each followed by those of the labels in which its runs differ."""
    groups: dict[tuple[str, str], list[Fate]] = {}
    for fate in fates:
        groups.setdefault((fate.workflow, fate.sharing), []).append(fate)
    return tuple(one for key in sorted(groups) for one in _of_group(groups[key]))


def _of_group(fates: Sequence[Fate]) -> list[FallCount]:
    axes = dict.fromkeys(axis for fate in fates for axis in fate.labels if axis not in _APART)
    found = [_count(fates)]
    for axis in axes:
        labels = dict.fromkeys(fate.labels.get(axis, "") for fate in fates)
        if len(labels) > 1:
            found += [_count([one for one in fates if one.labels.get(axis, "") == own], axis, own) for own in labels]
    return found


def _count(fates: Sequence[Fate], axis: str = "", label: str = "") -> FallCount:
    ends = [fate.fell for fate in fates]
    return FallCount(
        workflow=fates[0].workflow,
        sharing=fates[0].sharing,
        axis=axis,
        label=label,
        fell=ends.count("fell"),
        told=ends.count("fell") + ends.count("held"),
        cannot_tell=ends.count("cannot tell"),
    )


def in_words(counts: Iterable[FallCount], workflow: str, sharing: str) -> str:
    """`runs that fell: 4 of 11 [...] (rate: x1 0 of 5 ..., x3 ...)` of a workflow and a sharing; empty without any.

    The labels are told apart only if a run fell.
    """
    own = [one for one in counts if (one.workflow, one.sharing) == (workflow, sharing)]
    if not own:
        return ""
    parts: dict[str, list[str]] = {}
    for one in own[1:] if own[0].fell else []:
        parts.setdefault(one.axis, []).append(f"{one.label} {one.words}")
    told = "; ".join(f"{axis}: {', '.join(labels)}" for axis, labels in parts.items())
    return f"runs that fell: {own[0].words}" + (f" ({told})" if told else "")
