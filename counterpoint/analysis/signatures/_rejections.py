"""The worth of a rejection: what became of the answers that a judge sent back."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Thresholds, at_the_start, now, window

Span = tuple[int, int]


def pays_below(recovered: float, spoiled: float) -> float | None:
    """The probability that an answer is right, below which rejecting it is better for the team than approving it.

    Approved, an answer that is right with probability q gives q. Rejected, it gives q (1 - spoiled) + (1 - q)
    recovered, which is more where q < recovered / (recovered + spoiled). None if a rejection changes nothing.
    """
    return recovered / (recovered + spoiled) if recovered + spoiled > 0.0 else None


def worth_of_rejections(history: History, limits: Thresholds, judge: str, *, at_first: bool) -> list[str]:
    """The effect of rejections at the start or now, and where they pay: a line per other role that answers again.

    Nothing where no role answers again. Why a role did is not recorded: the line takes it for the effect of rejections,
    and each for one further answer.
    """
    span = (1, limits.start) if at_first else window(history, limits)
    value = at_the_start if at_first else now
    lines = []
    for role in history.roles:
        recovered = value(history, f"role/{role}/recovered", limits)
        spoiled = value(history, f"role/{role}/spoiled", limits)
        if role == judge or recovered is None or spoiled is None:
            continue
        when = "in the first steps" if at_first else "in the last steps"
        lines.append(
            f"{when} answering again made {recovered:.0%} of the wrong answers of {role} right and {spoiled:.0%} of the"
            f" right ones wrong: {_where(recovered, spoiled, _right(history, judge, span))}"
        )
    return lines


def _where(recovered: float, spoiled: float, right: float | None) -> str:
    below = pays_below(recovered, spoiled)
    if below is None:
        return "for the team, a rejection changes nothing"
    pays = f"for the team, a rejection pays where an answer is right with a probability below {below:.0%}"
    return pays if right is None else f"{pays}; of those that were judged {right:.0%} were"


def _right(history: History, judge: str, span: Span) -> float | None:
    """The fraction of the answers that the judge judged that were right; None if none was."""
    right, wrong = (
        sum(history.series(f"role/{judge}/judged_{name}").between(*span).values) for name in ("right", "wrong")
    )
    return right / (right + wrong) if right + wrong else None
