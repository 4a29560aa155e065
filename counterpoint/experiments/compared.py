"""Finished runs compared, grouped by what differs: the team and every role, over seeds and tasks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from counterpoint.analysis.comparison import Level, MethodComparison, Verdict, in_points
from counterpoint.analysis.contrast import CONFIDENCE
from counterpoint.analysis.factors import Effect
from counterpoint.analysis.falls import McNemar, Rate
from counterpoint.analysis.multiplicity import holm
from counterpoint.analysis.outliers import points
from counterpoint.errors import counted
from counterpoint.experiments.collected import MILESTONES
from counterpoint.experiments.groups import Block
from counterpoint.experiments.matrices import AMOUNTS, Amount

if TYPE_CHECKING:
    import polars as pl

TEAM = "team"
PRIMARY: tuple[Amount, ...] = ("peak", "kept")
"""The amounts whose differences are the result; kept is what terminal accuracy has over the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLevel:
    """The accuracy of the team, or of a role, in the runs of one group."""

    block: str
    group: str
    who: str
    base: Level
    peak: Level
    gain: Level
    """Peak minus base."""
    terminal: Level
    """With `kept` and `drop`, of the runs that no intervention stopped or, if all were, of all."""
    kept: Level
    """Terminal minus base."""
    drop: Level
    """Peak minus terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One group minus another, of the team or of a role."""

    block: str
    who: str
    amount: Amount
    found: MethodComparison
    """Its verdict is that after the correction for the number of comparisons."""
    p_value: float | None
    """Corrected: of the team after Holm, of roles after Benjamini and Hochberg; None with one seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Falls:
    """The runs of a group that fell."""

    block: str
    group: str
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The result of comparing runs: every number that is printed or drawn."""

    by: str
    """The axis that is compared; empty if the groups differ in several, or are those of `--against`."""
    margin: float
    blocks: tuple[Block, ...]
    levels: tuple[GroupLevel, ...]
    differences: tuple[Difference, ...]
    """The primary family first: the team at its peak and at its end, in every block."""
    controls: tuple[GroupLevel, ...]
    """The team in the runs of each control that a study trained."""
    falls: tuple[Falls, ...]
    paired_falls: McNemar | None
    """Over all blocks, where two groups are compared."""
    effects: Mapping[Amount, tuple[Effect, ...]]
    """Amount -> the main effect of the axis over the blocks, and its interactions; empty with one block."""
    warnings: tuple[str, ...]
    what: str = ""
    """The workflows, tasks, models, steps and episodes per task of the finished runs, in one line."""

    @property
    def team(self) -> list[Difference]:
        """The primary family."""
        return [one for one in self.differences if one.who == TEAM]

    @property
    def sentences(self) -> list[str]:
        """The verdict in words, the most important first."""
        return list(_sentences(self))

    def frame(self) -> "pl.DataFrame":
        """One row per difference: block, who, amount, one, other, value, low, high, seeds, tasks, p_value, verdict.

        The interval is over seeds and tasks or, with one seed, over tasks alone (`over_seeds` is then false).
        """
        import polars as pl

        return pl.DataFrame([_difference_row(one) for one in self.differences], schema=_DIFFERENCES)

    def accuracies(self) -> "pl.DataFrame":
        """One row per group, part (team, then roles) and amount: value, low, high, seeds, tasks; controls last.

        The amounts are base, peak, gain, terminal, kept and drop.
        """
        import polars as pl

        return pl.DataFrame([row for one in (*self.levels, *self.controls) for row in _level_rows(one)], schema=_LEVELS)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {
            "by": self.by,
            "margin": self.margin,
            "what": self.what,
            "sentences": self.sentences,
            "differences": [{**_difference_row(one), **one.found.as_dict()} for one in self.differences],
            "accuracies": [row for one in (*self.levels, *self.controls) for row in _level_rows(one)],
            "falls": [
                {"block": one.block, "group": one.group, "words": one.rate.words, **_rate(one.rate)}
                for one in self.falls
            ],
            "paired_falls": None if self.paired_falls is None else asdict(self.paired_falls),
            "effects": [
                {
                    "amount": amount,
                    "effect": str(effect),
                    "contexts": list(effect.contexts),
                    "left_out": list(effect.left_out),
                    **_estimate(effect),
                }
                for amount, found in self.effects.items()
                for effect in found
            ],
            "left_out": [
                {"run": run.run, "state": run.state}
                for block in self.blocks
                for group in block.groups
                for run in group.missing
            ],
            "warnings": list(self.warnings),
        }


_DIFFERENCES = {
    "block": str,
    "who": str,
    "amount": str,
    "one": str,
    "other": str,
    "value": float,
    "low": float,
    "high": float,
    "over_seeds": bool,
    "seeds": int,
    "tasks": int,
    "p_value": float,
    "verdict": str,
}
_LEVELS = {
    "block": str,
    "group": str,
    "who": str,
    "amount": str,
    "value": float,
    "low": float,
    "high": float,
    "over_seeds": bool,
    "seeds": int,
    "tasks": int,
}


def shown_accuracy(found: Level) -> tuple[float, float, float]:
    """Value, low and high of an accuracy; the ends of a t interval that no accuracy can have are cut off."""
    value, low, high = found.shown
    return value, max(0.0, low), min(1.0, high)


def _sentences(found: Compared) -> Iterator[str]:
    words = {"peak": "at the peak", "kept": "at the end, over the base"}
    team = found.team
    pairs = {(one.block, one.found.one, one.found.other) for one in team}
    if not team:
        yield from (_alone(one) for one in found.levels if one.who == TEAM)
    elif len(pairs) == 1:
        yield from (f"{words[one.amount]}: {one.found.sentence}" for one in team)
    else:
        for amount in PRIMARY:
            own = [one for one in team if one.amount == amount]
            if own:
                yield f"{words[amount]}: {_counts(own)}"
    for amount, effects in found.effects.items():
        for effect in effects:
            if len(effect.changes) == 1:
                left_out = f", {len(effect.left_out)} left out" if effect.left_out else ""
                where = f"{words[amount]}, over {counted(len(effect.contexts), 'cell')}{left_out}"
                yield f"{where}: {_effect(effect)} on average"
    yield from (f"{words[amount]}, {_interaction(effect)}" for amount, effect in _interactions(found.effects))
    if len(found.blocks) == 1:
        told = [f"{one.group} {one.rate.short}" for one in found.falls if one.rate.runs]
        if told:
            yield f"fell: {'; '.join(told)}"
    elif found.paired_falls is not None:
        other, one = (group.name for group in next(one for one in found.blocks if len(one.groups) == 2).groups)
        yield f"falls: {found.paired_falls.words(one, other)}"


def _counts(differences: Sequence[Difference]) -> str:
    """The number of comparisons with each verdict."""
    leaders: dict[str, int] = {}
    verdicts: dict[Verdict, int] = {}
    for one in differences:
        verdicts[one.found.verdict] = verdicts.get(one.found.verdict, 0) + 1
        if one.found.leader:
            leaders[one.found.leader] = leaders.get(one.found.leader, 0) + 1
    told = [f"{name} is ahead in {count}" for name, count in leaders.items()]
    told += [f"{count} {verdict}" for verdict, count in sorted(verdicts.items()) if verdict != "ahead"]
    needed = sorted(
        size.seeds
        for one in differences
        if one.found.verdict == "cannot tell" and (size := one.found.needed) is not None and size.seeds is not None
    )
    span = f"{needed[0]} to {needed[-1]}" if needed[:1] != needed[-1:] else f"{needed[0]}" if needed else ""
    margin = in_points(differences[0].found.margin)
    more = f"; {margin} would be found with about {span} seeds" if needed else ""
    return f"of {counted(len(differences), 'comparison')} {', '.join(told)}{more}"


def _interactions(effects: Mapping[Amount, Sequence[Effect]]) -> list[tuple[Amount, Effect]]:
    """The interactions that are there after Holm's correction for all of them."""
    every = [
        (amount, effect)
        for amount, own in effects.items()
        for effect in own
        if len(effect.changes) > 1 and effect.estimate is not None
    ]
    p_values = holm([effect.estimate.p_value for _, effect in every if effect.estimate is not None])
    return [one for one, p_value in zip(every, p_values, strict=True) if p_value <= 1 - CONFIDENCE]


def _effect(effect: Effect) -> str:
    return f"{effect} is {_estimate_in_words(effect)}"


def _interaction(effect: Effect) -> str:
    """The difference that another axis makes, in words."""
    change, other = effect.changes
    return (
        f"{change.to} - {change.others} depends on {other.axis}: {_estimate_in_words(effect)} from {other.others} to"
        f" {other.to}"
    )


def _estimate_in_words(effect: Effect) -> str:
    assert effect.estimate is not None
    value, low, high = effect.estimate.value, effect.estimate.low, effect.estimate.high
    return f"{100 * value:+z.1f} points [{points(low)}, {points(high)}]"


def _alone(one: GroupLevel) -> str:
    """The gain of one method, and the part of it that was kept, in a sentence."""
    gained, stayed = (
        "{:+z.1f} [{:z.1f}, {:z.1f}]".format(*(100 * part for part in found.shown)) for found in (one.gain, one.kept)
    )
    base = f"{counted(one.peak.seeds, 'seed')}, {counted(one.peak.tasks_alone.n, 'task')}"
    over = "" if one.gain.over_seeds else ", an interval over tasks alone"
    where = f"{one.block}: " if one.block else ""
    return f"{where}{one.group} gained {gained} points at the peak and kept {stayed} at the end ({base}{over})"


def _difference_row(one: Difference) -> dict[str, Any]:
    value, low, high = one.found.shown
    return {
        "block": one.block,
        "who": one.who,
        "amount": one.amount,
        "one": one.found.one,
        "other": one.found.other,
        "value": value,
        "low": low,
        "high": high,
        "over_seeds": one.found.over_seeds,
        "seeds": min(one.found.seeds),
        "tasks": one.found.tasks,
        "p_value": one.p_value,
        "verdict": one.found.verdict,
    }


def _level_rows(one: GroupLevel) -> Iterator[dict[str, Any]]:
    for amount in AMOUNTS:
        found: Level = getattr(one, amount)
        value, low, high = shown_accuracy(found) if amount in MILESTONES else found.shown
        yield {
            "block": one.block,
            "group": one.group,
            "who": one.who,
            "amount": amount,
            "value": value,
            "low": low,
            "high": high,
            "over_seeds": found.over_seeds,
            "seeds": found.seeds,
            "tasks": found.tasks_alone.n,
        }


def _rate(rate: Rate) -> dict[str, Any]:
    return asdict(rate)


def _estimate(effect: Effect) -> dict[str, Any]:
    found = effect.estimate
    return {} if found is None else {"value": found.value, "low": found.low, "high": found.high, "p": found.p_value}
