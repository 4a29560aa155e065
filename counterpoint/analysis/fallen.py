"""The fall of a run, explained from what was recorded: the roles that fell, in their order, and what changed in each.

A role fell by the rule that holds for the team (`falls.fell`), applied to its own claims at the team's peak. A change
says what was unusual, not that it was the cause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from counterpoint.analysis.falls import Onset, fate_of, fell, onset
from counterpoint.analysis.history import History
from counterpoint.analysis.intervals import Interval, difference, interval
from counterpoint.analysis.milestones import MilestoneRows, Row, milestones_of, outcomes_of
from counterpoint.analysis.recorded import BEST
from counterpoint.analysis.stood_out import Change, changes_of, names_of_policy, names_of_role


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFall:
    """A role whose own accuracy fell."""

    role: str
    peak: Interval
    """Its accuracy at the team's peak."""
    drop: Interval
    """That minus its accuracy over the last evaluations, paired by task."""
    onset: Onset
    """The first evaluation from which all of its accuracies lie below its interval at the peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The numbers of a role, or of a policy of several roles, that left their usual range after the peak."""

    where: str
    before: tuple[Change, ...]
    """At the team's onset or before, the largest first."""
    later: tuple[Change, ...]
    """After the team's onset and until the end, without the metrics in `before`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What was recorded about the fall of a run."""

    peak_step: int
    onset: Onset
    """Of the team."""
    last: int
    drop: Interval
    """Of the team, paired by task."""
    roles: tuple[RoleFall, ...]
    """The roles that fell, in the order of their onsets; empty if none did."""
    changed: tuple[Changed, ...]
    """One per role, those that fell first, then one per policy of several roles."""
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
        """The role or policy with the change that stood out first, of equal ones the largest; None without a change."""
        every = [(one.where, change) for one in self.changed for change in (*one.before, *one.later)]
        return min(every, key=lambda pair: (pair[1].step, -pair[1].size), default=None)


def explain(history: History) -> Explained | None:
    """The fall of the run, explained; None if it did not fall, or it cannot be told whether it did."""
    fate = fate_of(history.evaluations, history.final)
    trained = [row for row in history.evaluations if not row.get("rolled_back")]
    found = milestones_of(trained, history.final)
    if fate is None or found is None or fate.onset is None:
        return None
    roles = sorted(_fallen(history, found), key=lambda one: (one.onset.step, -one.drop.value))
    span = (fate.peak_step, fate.onset.step, fate.last)
    return Explained(
        peak_step=fate.peak_step,
        onset=fate.onset,
        last=fate.last,
        drop=fate.drop,
        roles=tuple(roles),
        changed=_changed(history, [one.role for one in roles], *span),
        lost_answers=_lost_answers(found),
    )


def _fallen(history: History, found: MilestoneRows) -> list[RoleFall]:
    every = (_fall_of(found, role) for role in history.roles)
    return [one for one in every if one is not None]


def _fall_of(found: MilestoneRows, role: str) -> RoleFall | None:
    """None if the role did not fall, or has no judged claim at the peak and in each of the last evaluations."""
    peak, terminal = outcomes_of([found.peak], role), outcomes_of(found.last, role)
    last = [outcomes_of([row], role) for row in found.last]
    if not peak.keys() & terminal.keys() or not all(last):
        return None
    at_peak, drop = interval(list(peak.values())), difference(peak, terminal)
    begun = onset(found, role)
    if begun is None or fell(drop, [fmean(own.values()) for own in last], at_peak) != "fell":
        return None
    return RoleFall(role=role, peak=at_peak, drop=drop, onset=begun)


def _changed(history: History, fallen: list[str], peak: int, begun: int, last: int) -> tuple[Changed, ...]:
    roles = [*fallen, *(role for role in history.roles if role not in fallen)]
    looked = {role: names_of_role(history, role) for role in roles}
    looked |= {one: names_of_policy(one) for one in history.policies if len(history.roles_of(one)) > 1}
    found = []
    for where, names in looked.items():
        before = changes_of(history, names, peak, begun)
        known = {one.number for one in before}
        until = [one for one in changes_of(history, names, peak, last) if one.number not in known]
        early = [one for one in until if one.step <= begun]
        later = [one for one in until if one.step > begun]
        found.append(Changed(where=where, before=(*before, *early), later=tuple(later)))
    return tuple(found)


def _lost_answers(found: MilestoneRows) -> Interval | None:
    peak, last = _best(found.peak), [_best(row) for row in found.last]
    shared = [task for task in peak if all(task in own for own in last)]
    if not shared:
        return None
    return difference(peak, {task: fmean(own[task] for own in last) for task in shared})


def _best(row: Row) -> Mapping[str, float]:
    outcomes = row.get("controls", {}).get(BEST, {}).get("outcomes", {})
    return {task: fmean(values) for task, values in outcomes.items() if values}
