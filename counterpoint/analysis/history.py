"""The recorded numbers of a run as series over its steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from counterpoint.config import Config
from counterpoint.episode import Group, calls_of
from counterpoint.errors import RunError
from counterpoint.options import Spec
from counterpoint.policy import Routing

Row = Mapping[str, Any]
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
    def episodes(self, step: int) -> list[Group]: ...


class Series(NamedTuple):
    """The values of one number at the steps that have it, in order."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def between(self, first: int, last: int) -> "Series":
        """The part from step `first` to step `last`, both included."""
        kept = [pair for pair in zip(self.steps, self.values, strict=True) if first <= pair[0] <= last]
        return Series(tuple(step for step, _ in kept), tuple(value for _, value in kept))

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

    def series(self, name: str) -> Series:
        """The values of a number of `metrics.jsonl`."""
        return _series((row["step"], row.get(name)) for row in self.metrics)

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
    routing = run.facts.get("routing")
    if routing is None:
        raise RunError(f"{run.path} has not begun: its run.json does not say which policies it has")
    policy_of = {role: found if isinstance(found, str) else tuple(found) for role, found in routing.items()}
    return History(
        metrics=run.metric_rows(),
        evaluations=run.evaluation_rows(),
        routing=Routing(policy_of),
        claims=_claims(run),
        signatures=run.config.signatures,
        final=run.final_rows(),
    )


def _claims(run: Recorded) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    steps = run.steps_with_episodes()
    for step in dict.fromkeys(steps[place * (len(steps) - 1) // (LOOKS - 1)] for place in range(LOOKS) if steps):
        for _, call in calls_of(run.episodes(step)):
            kinds = found.setdefault(call.key.role, set())
            if call.claim is not None:
                kinds.add(type(call.claim).__name__.lower())
    return {role: frozenset(kinds) for role, kinds in found.items()}


def _series(pairs: Any) -> Series:
    kept = sorted((step, float(value)) for step, value in pairs if value is not None)
    return Series(tuple(step for step, _ in kept), tuple(value for _, value in kept))
