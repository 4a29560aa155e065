"""What a run has recorded so far, as series over its steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from counterpoint.episode import calls_of, read_episodes
from counterpoint.errors import RunError
from counterpoint.policy import Routing
from counterpoint.run import Run

Row = Mapping[str, Any]
LOOKS = 4
"""Steps, from the first to the last, whose episodes tell what the roles claim."""


class Series(NamedTuple):
    """A number over the steps that have it, in order."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def between(self, first: int, last: int) -> "Series":
        """The part from step `first` to step `last`, both included."""
        kept = [pair for pair in zip(self.steps, self.values, strict=True) if first <= pair[0] <= last]
        return Series(tuple(step for step, _ in kept), tuple(value for _, value in kept))

    def mean(self) -> float | None:
        """None if no step has it."""
        return fmean(self.values) if self.values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that failure signatures are read from."""

    metrics: Sequence[Row]
    """The lines of `metrics.jsonl`, a training step each."""
    evaluations: Sequence[Row]
    """The lines of `evaluations.jsonl`."""
    routing: Routing
    claims: Mapping[str, frozenset[str]]
    """Role -> the kinds of claims it makes: answer, verdict, choice, proposal, unreadable."""

    def series(self, name: str) -> Series:
        """A number of the training steps."""
        return _series((row["step"], row.get(name)) for row in self.metrics)

    def evaluated(self, name: str, split: str = "test") -> Series:
        """A number of the evaluations of a split; `accuracy` is the team's."""
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
        return list(self.routing.policy_of)

    @property
    def policies(self) -> list[str]:
        return [policy.name for policy in self.routing.policies]

    def roles_of(self, policy: str) -> list[str]:
        """The roles that speak with a policy."""
        return [
            role
            for role, found in self.routing.policy_of.items()
            if policy == found or (not isinstance(found, str) and policy in found)
        ]


def history_of(run: Run) -> History:
    """What the run's directory holds now: of a finished run, a running one, or one that was killed.

    Raises RunError if it has not begun, or if its files are damaged.
    """
    routing = run.facts.get("routing")
    if routing is None:
        raise RunError(f"{run.path} has not begun: its run.json does not say which policies it has")
    policy_of = {role: found if isinstance(found, str) else tuple(found) for role, found in routing.items()}
    return History(
        metrics=run.metrics(),
        evaluations=run.evaluations(),
        routing=Routing(policy_of),
        claims=_claims(run),
    )


def _claims(run: Run) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    paths = sorted((run.path / "episodes").glob("*.parquet"))
    for path in [paths[place * (len(paths) - 1) // (LOOKS - 1)] for place in range(LOOKS)] if paths else []:
        for _, call in calls_of(read_episodes(path)):
            kinds = found.setdefault(call.key.role, set())
            if call.claim is not None:
                kinds.add(type(call.claim).__name__.lower())
    return {role: frozenset(kinds) for role, kinds in found.items()}


def _series(pairs: Any) -> Series:
    kept = sorted((step, float(value)) for step, value in pairs if value is not None)
    return Series(tuple(step for step, _ in kept), tuple(value for _, value in kept))
