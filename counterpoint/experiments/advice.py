"""The answer of a race in words and as plain values: the verdict, falls, reasons, and what was not tested."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from counterpoint.analysis.falls import Rate, rate_of
from counterpoint.analysis.racing import LAST, WRONG, Outcome, Pair, Standing
from counterpoint.errors import counted
from counterpoint.experiments.evidence import Seen
from counterpoint.experiments.raced import Raced


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """An arm of a race, and what its runs found."""

    name: str
    policies: int
    """The policies that it trains and serves."""
    seeds: tuple[int, ...]
    """The seeds of its finished runs."""
    base: float | None
    """The mean accuracy before training; None without a finished run."""
    peak: float | None
    """The mean accuracy at the validated peaks, over the tasks that all runs of the race have; None without any."""
    falls: Rate
    stopped: int
    """The runs that `stop_at_cliff` ended."""
    failed: Mapping[int, str]
    """Seed -> why the run failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The arm of a race to train, or the reason why that cannot be told."""

    standing: Standing
    arms: tuple[ArmResult, ...]
    """Cheapest first."""
    margin: float
    """As a fraction."""
    steps: int
    tasks: int
    left_out: int
    """Tasks that some run has no outcome for."""
    samples: int
    """The fewest episodes per task at the peak."""
    signatures: tuple[Seen, ...]
    seen: tuple[str, ...]
    """Role gradients and falls of roles, in words."""
    rates: tuple[str, ...]
    """The recorded rates that the role gradients are read against, or that there are none."""
    minutes: float | None
    """The minutes that one more round takes; None if no further round is possible."""
    train: Mapping[str, tuple[str, ...]]
    """Arm -> the words of the command that trains it."""
    go_on: tuple[str, ...]
    """The words of the command that continues the race; empty if there is none."""
    measured: tuple[str, ...] = ()
    """The interventions that were measured where runs of an arm fell, with their figures, or that none was."""
    without_cliff_stop: bool = False
    """True if the runs were not stopped at a cliff, as those that `--from` names."""

    @property
    def leader(self) -> str:
        """The arm to train: the one that is ahead, or the cheapest of those that are alike; empty without one."""
        if self.standing.call == "cannot tell":
            return ""
        return next(arm.name for arm in self.arms if arm.name in self.standing.left)

    def lines(self) -> list[str]:
        """The advice as a person reads it."""
        return [
            *self._verdict(),
            *self._warning(),
            "accuracy at the peak: " + ", ".join(_accuracy(arm) for arm in self.arms),
            "falls: " + ", ".join(f"{arm.name} {arm.falls.short}{_stopped(arm)}" for arm in self.arms),
            *(
                f"failed: {arm.name} with seed {seed}: {reason}"
                for arm in self.arms
                for seed, reason in arm.failed.items()
            ),
            *self._why(),
            f"not tested: more than {counted(self.steps, 'step')}, other sizes of model, and tasks unlike these",
            *self._copy(),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the lines that are printed."""
        return {**asdict(self), "leader": self.leader, "lines": self.lines()}

    def _verdict(self) -> Iterator[str]:
        standing = self.standing
        basis = f"{self._basis()}{self._error()}"
        if standing.call == "ahead":
            leads = "; ".join(_ahead(pair) for pair in standing.behind if pair.leader == self.leader)
            yield f"{leads or f'{self.leader} is ahead'} ({basis})"
        elif standing.call == "alike":
            cheap = next(arm for arm in self.arms if arm.name == self.leader)
            for pair in standing.pairs:
                yield f"{pair.one} and {pair.other} are alike within {_points(self.margin)}: {_minus(pair)} ({basis})"
            policies = "1 policy" if cheap.policies == 1 else f"{cheap.policies} policies"
            yield f"take the cheaper: {cheap.name}, with {policies}"
        else:
            yield f"cannot tell ({basis})"
            yield from (f"  {line}" for pair in standing.pairs for line in self._open(pair))
        for pair in standing.behind:
            if pair.leader != self.leader and pair.estimate is not None:
                yield f"out of the race: {_ahead(pair)}, after {counted(pair.estimate.seeds, 'seed')}"

    def _basis(self) -> str:
        """The seeds that both arms of a pair have, of the pairs of the last look the fewest; tasks and steps."""
        last = self.standing.pairs or self.standing.behind[-1:]
        paired = [pair.estimate.seeds for pair in last if pair.estimate is not None]
        seeds = counted(min(paired), "paired seed") if paired else counted(self.standing.rounds, "round")
        return f"{seeds}, {counted(self.tasks, 'task')} x {self.samples}, {counted(self.steps, 'step')}"

    def _error(self) -> str:
        """The share of races in which such a verdict is wrong, in words."""
        share = f"{100 * WRONG[len(self.arms)]:g} %"
        match self.standing.call:
            case "ahead":
                return f"; if another arm were better, it would be named in at most {share} of races"
            case "alike":
                return f"; if it were worse by more than the margin, it would be taken in at most {share} of races"
            case _:
                return ""

    def _open(self, pair: Pair) -> Iterator[str]:
        """A pair that is not decided: where it stands, and what would probably decide it."""
        yield f"{_minus(pair)}{f', because {pair.reason}' if pair.estimate and pair.reason else ''}"
        if pair.estimate is None or pair.reason:
            return
        if pair.decided_by is None:
            yield (
                f"more seeds would not decide it: the {counted(self.tasks, 'test task')} are too few, about"
                f" {pair.tasks_needed} would do"
            )
            return
        more = pair.decided_by - pair.estimate.seeds  # a round of which a run failed has no pair
        if self.standing.rounds + more <= LAST:
            cost = "" if self.minutes is None else f", about {max(1, round(more * self.minutes))} minutes"
            yield f"probably decided with {counted(pair.decided_by, 'seed')}: {more} more{cost}"
        else:
            yield f"probably decided with {pair.decided_by} seeds, more than the {LAST} of a race: make a study"

    def _warning(self) -> Iterator[str]:
        """Warnings, which are no part of the verdict: that the arm to train fell more often, for example."""
        chosen = next((arm for arm in self.arms if arm.name == self.leader), None)
        if chosen is not None and chosen.falls.fell and any(chosen.falls.fell > arm.falls.fell for arm in self.arms):
            yield (
                f"WARNING: {chosen.name} is the choice at its peak, but {chosen.falls.fell} of {chosen.falls.runs} runs"
                " fell afterwards: keep stop_at_cliff"
            )
        gains = [arm.peak - arm.base for arm in self.arms if arm.peak is not None and arm.base is not None]
        if gains and max(gains) < self.margin:
            yield (
                f"WARNING: no arm became better by {_points(self.margin)}: pilots of more steps may tell more about"
                " training"
            )
        every = self.tasks + self.left_out
        if self.left_out > 0.05 * every:
            yield f"WARNING: {self.left_out} of {every} tasks were left out, for which a run has no outcome"
        if self.without_cliff_stop:
            yield "these runs were not stopped at a cliff: the accuracy is that of the checkpoint at the validated peak"

    def _why(self) -> list[str]:
        found = [*self.seen, *(seen.words for seen in self.signatures)]
        return [
            "why, as far as seen:" + ("" if found else " no failure signature was found"),
            *(f"  {line}" for line in found),
            *(f"  recorded rates: {line}" for line in self.rates),
            *(f"  {line}" for line in self.measured),
        ]

    def _copy(self) -> Iterator[str]:
        if self.leader and self.leader in self.train:
            yield f"copy: {shlex.join(self.train[self.leader])}"
        elif self.go_on and self.standing.rounds < LAST:
            yield f"to go on: {shlex.join(self.go_on)}"


def result_of(name: str, policies: int, runs: Sequence[Raced], outcomes: Mapping[int, Outcome]) -> ArmResult:
    """An arm of a race from its runs, of which others are left out.

    `outcomes` has, by seed, those at its peaks of the tasks that all runs of the race have.
    """
    mine = [run for run in runs if run.arm == name]
    finished = [run for run in mine if run.outcomes]
    bases = [run.base for run in finished if run.base is not None]
    peaks = [float(found.mean()) for found in outcomes.values() if found.size]
    return ArmResult(
        name=name,
        policies=policies,
        seeds=tuple(run.seed for run in finished),
        base=fmean(bases) if bases else None,
        peak=fmean(peaks) if peaks else None,
        falls=rate_of([run.fate.fell if run.fate else None for run in mine]),
        stopped=sum(bool(run.fate and run.fate.stopped) for run in finished),
        failed={run.seed: run.problem for run in mine if not run.outcomes},
    )


def _ahead(pair: Pair) -> str:
    found = pair.estimate
    assert found is not None
    value, low, high = (found.value, found.low, found.high)
    if value < 0:
        value, low, high = -value, -high, -low
    return f"{pair.leader} is ahead of {pair.trailer} by {_interval(value, low, high)}"


def _minus(pair: Pair) -> str:
    if pair.estimate is None:
        return f"{pair.one} and {pair.other}: {pair.reason}"
    return f"{pair.one} minus {pair.other} is {_interval(pair.estimate.value, pair.estimate.low, pair.estimate.high)}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} points [{100 * low:.1f}, {100 * high:.1f}]"


def _points(margin: float) -> str:
    return f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"


def _accuracy(arm: ArmResult) -> str:
    if arm.peak is None or arm.base is None:
        return f"{arm.name} unknown"
    return f"{arm.name} {100 * arm.peak:.1f} % (base {100 * arm.base:.1f} %)"


def _stopped(arm: ArmResult) -> str:
    return f", {arm.stopped} stopped at a cliff" if arm.stopped else ""
