"""The fall of a run, explained from what was recorded: the roles that fell, in their order, and what changed in each.

A role fell by the rule that holds for the team (`falls.fell`), applied to its own claims and its own peak, which
validation chooses as it chooses the team's. A change says what was unusual, not that it was the cause.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from counterpoint.analysis.falls import Onset, fate_of, fell, onset
from counterpoint.analysis.history import History
from counterpoint.analysis.intervals import Interval, difference, interval
from counterpoint.analysis.milestones import MilestoneRows, Row, milestones_of, outcomes_of, peak_of_accuracy
from counterpoint.analysis.recorded import BEST
from counterpoint.analysis.stood_out import (
    TEST,
    Change,
    Number,
    changes_of,
    names_of_policy,
    names_of_role,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFall:
    """A role whose own accuracy fell, by the rule for the team."""

    role: str
    peak_step: int
    """The evaluation with its best smoothed validation accuracy; 0 if it was never better than at the base."""
    peak: Interval
    """Its accuracy there, on the test split."""
    drop: Interval
    """That minus its accuracy over the last evaluations, paired by task."""
    onset: Onset
    """The first evaluation from which all of its accuracies lie below the interval of its peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The numbers of a role, or of a policy of several roles, that left their usual range; the largest come first."""

    where: str
    earlier: tuple[Change, ...]
    """Those by the team's peak against the range up to the role's own, if the role fell before the team's peak."""
    before: tuple[Change, ...]
    """Those that stood out at the team's onset or before, against the range up to the team's peak."""
    later: tuple[Change, ...]
    """The same, after the onset and until the end, without the metrics in `before`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The fall of a run, as far as its records explain it."""

    peak_step: int
    onset: Onset
    """That of the team."""
    last: int
    drop: Interval
    """That of the team, paired by task."""
    roles: tuple[RoleFall, ...]
    """The roles that fell, in the order of their onsets; empty if none did."""
    changed: tuple[Changed, ...]
    """One per role, those that fell first, then one per policy of several roles; one for both of equal names."""
    lost_answers: Interval | None
    """The drop of the best of all answers: right answers that no call gives any more. The rest of the team's drop is
    right answers that were there and not chosen, or spoiled. None if an episode has one call, or it was not recorded.
    """

    @property
    def first(self) -> tuple[str, ...]:
        """The roles that fell first: several if their onsets are the same evaluation."""
        return tuple(one.role for one in self.roles if one.onset.step == self.roles[0].onset.step)

    @property
    def earliest(self) -> tuple[str, Change] | None:
        """The role or policy with the change that stood out first, of equal ones the largest.

        None if nothing stood out by the onset: what changes after it is no sign of the fall.
        """
        every = [(one.where, change) for one in self.changed for change in (*one.earlier, *one.before)]
        return min(every, key=lambda pair: (pair[1].step, -pair[1].size), default=None)


def explain(history: History) -> Explained | None:
    """The fall of the run, explained; None if it did not fall, or it cannot be told whether it did."""
    fate = fate_of(history.evaluations, history.final)
    found = _milestones(history)
    if fate is None or found is None or fate.onset is None:
        return None
    roles = role_falls(history)
    span = (fate.peak_step, fate.onset.step, fate.last)
    return Explained(
        peak_step=fate.peak_step,
        onset=fate.onset,
        last=fate.last,
        drop=fate.drop,
        roles=roles,
        changed=_changed(history, roles, *span),
        lost_answers=_lost_answers(found),
    )


def role_falls(history: History) -> tuple[RoleFall, ...]:
    """The roles whose own accuracy fell, whether the team fell or not, in the order of their onsets.

    A role without a judged claim in each of the last evaluations is left out.
    """
    found = _milestones(history)
    every = [] if found is None else [_fall_of(history, found, role) for role in history.roles]
    return tuple(sorted((one for one in every if one), key=lambda one: (one.onset.step, -one.drop.value)))


def names_looked_at(history: History, where: str) -> dict[str, Number]:
    """Metric -> how it is looked at, for a role, for a policy of several roles, or for both where they share a name."""
    found = names_of_role(history, where) if where in history.roles else {}
    return found | (names_of_policy(where) if len(history.roles_of(where)) > 1 else {})


def _milestones(history: History) -> MilestoneRows | None:
    """Those of the weights that the run trained, as a fate is judged by them."""
    return milestones_of([row for row in history.evaluations if not row.get("rolled_back")], history.final)


def _fall_of(history: History, found: MilestoneRows, role: str) -> RoleFall | None:
    """None if the role did not fall, or has no judged claim at a peak and in each of the last evaluations."""
    own = _with_own_peak(history, found, role)
    if own is None:
        return None
    peak, terminal = outcomes_of([own.peak], role), outcomes_of(own.last, role)
    last = [outcomes_of([row], role) for row in own.last]
    if not peak.keys() & terminal.keys() or not all(last):
        return None
    at_peak, drop = interval(list(peak.values())), difference(peak, terminal)
    if fell(drop, [fmean(one.values()) for one in last], at_peak) != "fell":
        return None
    begun = onset(own, role)
    if begun is None:
        return None
    return RoleFall(role=role, peak_step=own.peak["step"], peak=at_peak, drop=drop, onset=begun)


def _with_own_peak(history: History, found: MilestoneRows, role: str) -> MilestoneRows | None:
    """The milestones with the role's peak in place of the team's; None if it has no judged claim in validation."""
    validation = [row for row in history.evaluations if row["split"] == "validation" and not row.get("rolled_back")]
    accuracy = {row["step"]: fmean(own.values()) for row in validation if (own := outcomes_of([row], role))}
    test = {row["step"]: row for row in found.test if outcomes_of([row], role)}
    if not accuracy.keys() & test.keys():
        return None
    return found._replace(peak=test[peak_of_accuracy(accuracy, test.keys())])


def _changed(history: History, fallen: Sequence[RoleFall], peak: int, begun: int, last: int) -> tuple[Changed, ...]:
    roles = dict.fromkeys((*(one.role for one in fallen), *history.roles))
    shared = [one for one in history.policies if len(history.roles_of(one)) > 1]
    early = {one.role: one.peak_step for one in fallen if one.onset.step <= peak}
    found = []
    for where in dict.fromkeys((*roles, *shared)):
        names = names_looked_at(history, where)
        earlier = changes_of(history, names, early[where], peak) if where in early else []
        before, later = _around(history, names, (peak, begun, last), {one.number for one in earlier})
        found.append(Changed(where=where, earlier=tuple(earlier), before=before, later=later))
    return tuple(found)


def _around(
    history: History, names: Mapping[str, Number], span: tuple[int, int, int], earlier: Collection[str]
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The changes by the onset, and those after it; without those in `earlier` that go on from the peak."""
    peak, begun, last = span
    until = changes_of(history, names, peak, last)
    before = changes_of(history, names, peak, begun)
    known = {one.number for one in before}
    before += [one for one in until if one.step <= begun and one.number not in known]
    known = {one.number for one in before}
    new = (one for one in before if one.number not in earlier or one.step > _next(history, one, peak))
    later = (one for one in until if one.number not in known)
    return tuple(sorted(new, key=lambda one: (-one.size, one.metric))), tuple(later)


def _next(history: History, change: Change, peak: int) -> int:
    """The first step after the peak that has the number; some are measured every fifth step, or in evaluations."""
    is_evaluated = change.metric.startswith(TEST)
    steps = (history.evaluated(change.number) if is_evaluated else history.series(change.number)).steps
    return min(step for step in steps if step > peak)


def _lost_answers(found: MilestoneRows) -> Interval | None:
    peak, last = _best(found.peak), [_best(row) for row in found.last]
    shared = [task for task in peak if all(task in own for own in last)]
    if not shared:
        return None
    return difference(peak, {task: fmean(own[task] for own in last) for task in shared})


def _best(row: Row) -> Mapping[str, float]:
    outcomes = row.get("controls", {}).get(BEST, {}).get("outcomes", {})
    return {task: fmean(values) for task, values in outcomes.items() if values}
