"""The outcome of a run in words, from the intervals of its summary and no stronger than they allow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from counterpoint.analysis.falls import CLIFF_DROP, Fate, Onset
from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.recorded import BEST, RecordedControl

if TYPE_CHECKING:
    from counterpoint.analysis.summary import Summary

FEW = 32
"""Validation tasks below which the choice of a peak is mostly chance: 95 % intervals are 32 points wide or wider."""
ENDS_AT_PEAK = "its peak is its last evaluation"


def verdict_on(found: "Summary") -> tuple[str, ...]:
    """The sentences about a run: the team, then each role that got worse, then the choice of the peak."""
    team = "; ".join(part for part in (_gained(found), _since(found)) if part)
    worse = [
        f"{role}: {points(-course.gain.value, -course.gain.high, -course.gain.low)} worse at the peak than at the base"
        for role, course in found.roles.items()
        if course.gain is not None and course.gain.high < 0.0
    ]
    few = found.validation_tasks is not None and found.validation_tasks < FEW
    chosen = f"the peak was chosen on {found.validation_tasks} validation tasks, too few to tell evaluations apart"
    return (f"team: {team}", *worse, *([chosen] if few else []))


def control_sentences(controls: Sequence[RecordedControl]) -> list[str]:
    """One sentence per control: whether the team is better."""
    return [_compared(control) for control in controls if control.name != BEST]


def fate_in_words(found: Fate) -> str:
    """The fate of a run in one line: fell, held, or cannot tell."""
    peak = _peak(found.peak_step)
    ended = f"; stopped after the evaluation at step {found.last}: {found.stopped}" if found.stopped else ""
    if found.fell == "fell" and found.onset is not None:
        return f"fell: {_of(found.drop)} below {peak}, {begun(found.onset)}{ended}"
    if found.fell == "held":
        lost = f"it lost at most {100 * max(found.drop.high, 0.0):.1f} points from {peak}"
        return f"held: {ENDS_AT_PEAK if found.ends_at_peak else lost}"
    course = ENDS_AT_PEAK if found.ends_at_peak else f"it lost {_of(found.drop)} from {peak}"
    return f"cannot tell whether it fell: {course}{ended}"


def begun(found: Onset) -> str:
    """The onset of a fall with its range, where it has one."""
    span = f" (between {found.low} and {found.high})" if found.low < found.high else ""
    return f"from step {found.step} on{span}"


def points(value: float, low: float, high: float, sign: str = "") -> str:
    """`44.1 points [37.1, 50.8]`."""
    return f"{100 * value:{sign}.1f} points [{100 * low:.1f}, {100 * high:.1f}]"


def _compared(control: RecordedControl) -> str:
    found = control.difference
    if found.low > 0.0:
        return f"the team is better than {control.name}, by {_of(found)}"
    if found.high < 0.0:
        return f"the team is worse than {control.name}, by {_of_minus(found)}"
    return f"the team is not better than {control.name}, as far as {found.n} tasks can tell: {_of(found, '+')}"


def _gained(found: "Summary") -> str:
    gain = found.team.gain
    if found.peak_step == 0:
        return "no improvement: no evaluation was better than the base on the validation split" + _instead(found.kept)
    if gain.low > 0.0:
        return f"improved by {_of(gain)}"
    if gain.high < 0.0:
        return f"no improvement: the peak is {_of_minus(gain)} below the base on the test split"
    return f"no improvement can be told: the gain is {_of(gain, '+')}"


def _instead(kept: Interval | None) -> str:
    """The end of a run whose peak is the base."""
    if kept is None or kept.low <= 0.0 <= kept.high:
        return ""
    where = f"{_of(kept)} above" if kept.low > 0.0 else f"{_of_minus(kept)} below"
    return f", and on the test split the end is {where} it"


def _since(found: "Summary") -> str:
    """The course after the peak; empty where the words about the gain say it."""
    if found.rolled_back:
        return f"went back to the weights of {_peak(found.peak_step)}"
    if found.cliff:
        start = _peak(found.peak_step)
        return f"fell by {_of(found.drop)} from {start}: a terminal accuracy cliff; the peak's weights: --step peak"
    if found.peak_step == 0:
        return ""
    if found.peak_step == found.terminal_steps[-1]:
        return _at_the_end(found)
    fall = found.fall or found.drop  # summaries of earlier versions hold no fall
    improved = found.gain.low > 0.0
    if fall.low > 0.0:
        return f"lost {_of(fall)} from its peak at step {found.peak_step}; the peak's weights: --step peak"
    if improved and fall.high < CLIFF_DROP:
        return (
            f"kept it: since the peak at step {found.peak_step} it lost at most {100 * max(fall.high, 0.0):.1f} points"
        )
    if improved:
        return f"it cannot be told whether it kept that: since the peak at step {found.peak_step} it lost {_of(fall)}"
    return ""


def _at_the_end(found: "Summary") -> str:
    """The end of a run whose last evaluation is its peak."""
    rise = found.rise
    if rise is not None and rise.low > 0.0:
        return f"still rising at the end ({_of(rise)} since step {found.terminal_steps[0]}): train longer"
    return ENDS_AT_PEAK


def _peak(step: int) -> str:
    """The evaluation that a run is best at; the base if no later one is better."""
    return f"its peak at step {step}" if step else "the base"


def _of(found: Interval, sign: str = "") -> str:
    return points(*found[:3], sign)


def _of_minus(found: Interval) -> str:
    return points(-found.value, -found.high, -found.low)
