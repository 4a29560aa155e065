"""The recorded numbers of a run as series over its steps."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from counterpoint.config import Config
from counterpoint.errors import RunError
from counterpoint.options import Spec
from counterpoint.policy import Routing

if TYPE_CHECKING:
    from counterpoint.analysis.summary import Summary

Row = Mapping[str, Any]
_SUMMARY = ""
LOOKS = 4
"""Steps, spread from the first to the last, whose episodes tell which kinds of claims each role makes."""


class Recorded(Protocol):
    """A run that can be read, as `counterpoint.run.Run`, which this package does not know."""

    path: Path
    config: Config

    @property
    def facts(self) -> dict[str, Any]: ...
    def metric_rows(self) -> list[dict[str, Any]]: ...
    def evaluation_rows(self) -> list[dict[str, Any]]: ...
    def final_rows(self) -> list[dict[str, Any]]: ...
    def steps_with_episodes(self) -> list[int]: ...
    def claim_kinds(self, step: int) -> Mapping[str, frozenset[str]]: ...


class Series(NamedTuple):
    """The values of one number at the steps that have it, in order; NaN is no value."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def between(self, first: int, last: int) -> "Series":
        """The part from step `first` to step `last`, both included."""
        kept = slice(bisect_left(self.steps, first), bisect_right(self.steps, last))
        return Series(self.steps[kept], self.values[kept])

    def mean(self) -> float | None:
        """The mean of the values; None if no step has one."""
        return fmean(self.values) if self.values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything from which failure signatures are read."""

    metrics: Sequence[Row]
    """The rows of `metrics.jsonl`, one per training step."""
    evaluations: Sequence[Row]
    """The rows of `evaluations.jsonl`."""
    routing: Routing
    claims: Mapping[str, frozenset[str]]
    """Role -> the kinds of claims it makes: answer, verdict, choice, proposal, unreadable."""
    signatures: Sequence[Spec] = ()
    """The user's own failure signatures that the run's recipe names."""
    final: Sequence[Row] = ()
    """The rows of `final.jsonl`, which a summary takes in place of the test evaluations of the same steps."""
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The series and the summary that were asked for: many signatures look at the same ones."""

    def series(self, name: str) -> Series:
        """The values of a number of `metrics.jsonl`."""
        if name not in self._known:
            self._known[name] = _series((row["step"], row.get(name)) for row in self.metrics)
        found: Series = self._known[name]
        return found

    def summary(self) -> "Summary | None":
        """The summary of the evaluations; None before the first evaluation after step 0."""
        if _SUMMARY not in self._known:
            from counterpoint.analysis.summary import summarize  # numpy, which a command that reads can do without

            self._known[_SUMMARY] = summarize(self.evaluations, self.final)
        found: Summary | None = self._known[_SUMMARY]
        return found

    def evaluated(self, name: str, split: str = "test") -> Series:
        """The values of a number of the evaluations of a split; `accuracy` is the team's."""
        rows = (row for row in self.evaluations if row["split"] == split)
        return _series(
            (row["step"], row["accuracy"] if name == "accuracy" else row["numbers"].get(name)) for row in rows
        )

    @property
    def last(self) -> int:
        """The last training step; 0 before the first."""
        return max((row["step"] for row in self.metrics), default=0)

    @property
    def roles(self) -> list[str]:
        """The roles of the workflow."""
        return list(self.routing.policy_of)

    @property
    def policies(self) -> list[str]:
        """The policies of the run."""
        return [policy.name for policy in self.routing.policies]

    def roles_of(self, policy: str) -> list[str]:
        """The roles for which a policy generates."""
        return [
            role
            for role, found in self.routing.policy_of.items()
            if policy == found or (not isinstance(found, str) and policy in found)
        ]


def history_of(run: Recorded) -> History:
    """The history that a run's directory holds now: of a finished run, a running one, or one that was killed.

    Raises RunError if it has not begun, or if its files are damaged.
    """
    return history_from(run, run.metric_rows(), run.evaluation_rows(), run.final_rows())


def history_from(run: Recorded, metrics: Sequence[Row], evaluations: Sequence[Row], final: Sequence[Row]) -> History:
    """As `history_of`, of rows that have been read."""
    routing = run.facts.get("routing")
    if routing is None:
        raise RunError(f"{run.path} has not begun: its run.json does not say which policies it has")
    policy_of = {role: found if isinstance(found, str) else tuple(found) for role, found in routing.items()}
    return History(
        metrics=metrics,
        evaluations=evaluations,
        routing=Routing(policy_of),
        claims=_claims(run),
        signatures=run.config.signatures,
        final=final,
    )


def _claims(run: Recorded) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    steps = run.steps_with_episodes()
    for step in dict.fromkeys(steps[place * (len(steps) - 1) // (LOOKS - 1)] for place in range(LOOKS) if steps):
        for role, kinds in run.claim_kinds(step).items():
            found.setdefault(role, set()).update(kinds)
    return {role: frozenset(kinds) for role, kinds in found.items()}


def _series(pairs: Any) -> Series:
    kept = sorted((step, float(value)) for step, value in pairs if value is not None and not isnan(value))
    return Series(tuple(step for step, _ in kept), tuple(value for _, value in kept))
