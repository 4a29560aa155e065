"""The roles that fell with the team, who fell first, and what changed in them before and after."""

from collections.abc import Iterator, Sequence

from counterpoint.analysis.fallen import Changed, Explained, RoleFall, explain, names_looked_at
from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_evaluations
from counterpoint.analysis.stood_out import Change, comparable
from counterpoint.analysis.verdict import begun

MOST = 5
"""Changes that are named before the onset, and after it."""


def find(history: History, limits: Thresholds) -> list[Finding]:
    found = explain(history)
    if found is None:
        return []
    fallen = {one.role for one in found.roles}
    beside = [line for one in found.changed if one.where not in fallen for line in _lines(history, found, one)]
    if not found.roles:
        return [_finding(found, "team", ["no role's own accuracy fell by the rule for the team", *beside])]
    own = [_of_role(history, found, role) for role in found.roles]
    own[0] += beside
    return [_finding(found, role.role, lines) for role, lines in zip(found.roles, own, strict=True)]


def _finding(found: Explained, where: str, evidence: Sequence[str]) -> Finding:
    return Finding(signature="fallen role", where=where, steps=(found.peak_step, found.last), evidence=tuple(evidence))


def _of_role(history: History, found: Explained, role: RoleFall) -> list[str]:
    """The evidence about a role that fell."""
    changed = next(one for one in found.changed if one.where == role.role)
    choices = [_choices(found)] if _chose(found, history, role.role) else []
    return [_fell(role), _order(found, role), *choices, *_lines(history, found, changed)]


def _fell(role: RoleFall) -> str:
    drop, peak = role.drop, f"its own peak at step {role.peak_step}" if role.peak_step else "the base"
    return (
        f"its own accuracy fell from {role.peak.value:.3f} at {peak} by {drop.value:.3f} [{drop.low:.3f},"
        f" {drop.high:.3f}], paired over tasks; each evaluation {begun(role.onset)} is below its interval"
    )


def _order(found: Explained, role: RoleFall) -> str:
    """The place of a role among those that fell."""
    others = [one for one in found.first if one != role.role]
    if role.role not in found.first:
        return f"it fell after {', '.join(found.first)}"
    if others:
        return f"at the same evaluation as {', '.join(others)}: it cannot be told who fell first"
    if len(found.roles) == 1:
        return "no other role's own accuracy fell"
    near = [one.role for one in found.roles[1:] if one.onset.low <= role.onset.high]
    return "it fell first" + (f", though by chance {', '.join(near)} may have: the ranges overlap" if near else "")


def _chose(found: Explained, history: History, role: str) -> bool:
    return found.lost_answers is not None and "choice" in history.claims.get(role, ())


def _choices(found: Explained) -> str:
    """The part of the team's drop that no choice could have prevented."""
    lost = found.lost_answers
    assert lost is not None
    drop, interval = found.drop.value, f"{lost.value:.3f} [{lost.low:.3f}, {lost.high:.3f}]"
    if lost.value > drop:
        return f"no answer was right any more in {interval}, more than the team's drop of {drop:.3f}: it chose better"
    rest = "the rest that a right one was not chosen"
    if lost.value <= 0.0:
        rest = "all of it that a right one was not chosen: right answers were as frequent as before"
    return f"of the team's drop of {drop:.3f}, {interval} is that no answer was right any more, {rest}"


def _lines(history: History, found: Explained, changed: Changed) -> Iterator[str]:
    """The changes of a role or a policy: by the team's peak, from there to its onset, and then."""
    yield from (f"by the team's peak: {_words(one)}" for one in _shown(changed.earlier))
    yield from (f"by the onset: {_words(one)}" for one in _shown(changed.before))
    if not changed.before:
        yield f"by the onset: {_nothing(history, found, changed.where)}"
    yield from (f"later: {_words(one)}" for one in _shown(changed.later))


def _nothing(history: History, found: Explained, where: str) -> str:
    """That nothing changed between the peak and the onset, or that it cannot be told."""
    peak, begun = found.peak_step, found.onset.step
    if comparable(history, names_looked_at(history, where), peak, begun):
        return f"nothing that is measured of {where} left its usual range from step {peak} to {begun}"
    few = f"too few values for a usual range, or none after it up to step {begun}"
    return f"it cannot be told what changed in {where}: {few}"


def _shown(changes: Sequence[Change]) -> list[Change]:
    """The largest changes, in the order of their steps."""
    return sorted(changes[:MOST], key=lambda one: (one.step, -one.size))


def _words(one: Change) -> str:
    return (
        f"{one.metric} went from {one.before:.3g} to {one.after:.3g} from step {one.step} on, {one.size:.1f} times the"
        " least that counts"
    )


FALLEN_ROLE = Signature(
    name="fallen role",
    find=find,
    meaning=(
        "The team fell, and this role's own accuracy with it. The changes are those of its numbers that left the range"
        " of the steps before the peak, and stayed out of it to the onset or to the end; they say what was unusual, not"
        " what was the cause."
    ),
    advice=(
        "Begin with the role that fell first and the change that came first: read its replies before and after that"
        " step (`counterpoint show RUN --evaluation --step N --role ROLE`). Use the checkpoint of the peak, or hold the"
        " role near the base from there on (the intervention `anchor_roles`)."
    ),
    lacks=lacks_evaluations(4),
)
