"""Numbers of a role or a policy that left their usual range between a run's peak and the onset of its fall.

The usual range is that of the last `REFERENCE` training steps up to the peak, or of the first ones if the peak is too
early for it; in test evaluations, that of the last `EVALUATIONS` up to the peak. A number stands out at a step if its
median over the last `SMOOTH` steps, none of them before the peak, is further from the median m of the usual range than
both `ERRORS` robust standard deviations (1.4826 times the median of |x - m|) and its least size, and if it stays so to
the end of the span. Lengths, entropy, distances and norms are compared as logarithms.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from statistics import median

from counterpoint.analysis.history import History, Series

REFERENCE = 20
"""Steps up to the peak over which a number's usual range is taken."""
EVALUATIONS = 4
"""Evaluations up to the peak, without that of the base, over which it is taken."""
FEWEST = 3
"""Values that a usual range needs; some numbers are measured every fifth step."""
SMOOTH = 5
ERRORS = 3.0
NORMAL = 1.4826
"""The standard deviation of a normal distribution in median absolute deviations."""
TEST = "eval/test/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number that is looked at."""

    least: float
    """The least change that counts; of a relative one, as a factor."""
    floor: float | None = None
    """None if differences count; else factors do, and a smaller value counts as this one."""

    def scaled(self, value: float) -> float:
        """The value on the scale on which it is compared."""
        return value if self.floor is None else log(max(value, self.floor))

    @property
    def least_scaled(self) -> float:
        """The least change on that scale."""
        return self.least if self.floor is None else log(self.least)


OF_ROLES: Mapping[str, Number] = {
    "entropy": Number(least=2.0, floor=0.01),
    "tokens_median": Number(least=1.5, floor=4.0),
    "tokens_p95": Number(least=1.5, floor=4.0),
    "tokens": Number(least=1.5, floor=4.0),
    "calls": Number(least=1.25, floor=0.1),
    "distance": Number(least=3.0, floor=0.1),
    "truncated": Number(least=0.05),
    "unreadable": Number(least=0.05),
    "without_signal": Number(least=0.2),
    "false_approval": Number(least=0.1),
    "false_rejection": Number(least=0.1),
    "selection": Number(least=0.05),
    "spoiled": Number(least=0.1),
    "echo": Number(least=0.1),
    "agreement": Number(least=0.1),
    "similarity": Number(least=0.1),
}
"""Numbers `role/<role>/<name>`."""
OF_GRADIENTS: Mapping[str, Number] = {
    "share": Number(least=0.15),
    "alignment": Number(least=0.15),
    "persistence": Number(least=0.2),
    "coherence": Number(least=0.15),
}
"""Numbers `gradient/<policy>/<role>/<name>`; coherence is amplification per parallel call."""
OF_POLICIES: Mapping[str, Number] = {
    "gradient_norm": Number(least=2.0, floor=1e-6),
    "change": Number(least=1.5, floor=1e-6),
}
"""Numbers `policy/<policy>/<name>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A number that left its usual range, and was outside of it at the onset."""

    metric: str
    """Its name in `metrics.jsonl`."""
    before: float
    """The median of the reference."""
    after: float
    """The median of the last values of the span."""
    step: int
    """The first step from which it stands out up to the end of the span."""
    size: float
    """The change in multiples of the least one that would have counted; at least 1."""

    @property
    def number(self) -> str:
        """The metric without the mark of an evaluation: `role/critic/entropy`."""
        return self.metric.removeprefix(TEST)

    @property
    def words(self) -> str:
        """`role/critic/entropy 0.05 -> 0.21 from step 33 on`."""
        return f"{self.metric} {self.before:.3g} -> {self.after:.3g} from step {self.step} on"


def changes_of(history: History, names: Mapping[str, Number], peak: int, end: int) -> list[Change]:
    """The changes of these metrics between the peak and the end of a span, the largest first.

    Of a number that changed both in training steps and in test evaluations, the larger change is there.
    """
    found: dict[str, Change] = {}
    for name, number in names.items():
        in_steps, in_evaluations = _usual_and_after(history, name, peak, end)
        for metric, compared, row in ((name, in_steps, 2), (f"{TEST}{name}", in_evaluations, 1)):
            one = _change(metric, *compared, number, row)
            if one is not None and (name not in found or one.size > found[name].size):
                found[name] = one
    return sorted(found.values(), key=lambda one: (-one.size, one.metric))


def comparable(history: History, names: Iterable[str], peak: int, end: int) -> bool:
    """True if at least one of these metrics has a usual range and a value after it, up to the end of the span."""
    return any(
        len(usual.values) >= FEWEST and after.values
        for name in names
        for usual, after in _usual_and_after(history, name, peak, end)
    )


def reference_of(peak: int) -> tuple[int, int]:
    """The steps of the usual range: the last ones up to the peak, or the first ones if the peak is too early."""
    return (max(1, peak - REFERENCE + 1), peak) if peak >= SMOOTH else (1, SMOOTH)


def names_of_role(history: History, role: str) -> dict[str, Number]:
    """Metric -> how it is looked at, for a role and the policies that it has alone.

    The share and the alignment of a role that has its policy alone are always 1. Mean lengths are left out where the
    median was recorded.
    """
    found = {f"role/{role}/{name}": number for name, number in OF_ROLES.items()}
    if history.series(f"role/{role}/tokens_median").values:
        del found[f"role/{role}/tokens"]
    for policy in history.policies:
        roles = history.roles_of(policy)
        if role not in roles:
            continue
        alone = len(roles) == 1
        for name, number in OF_GRADIENTS.items():
            if not (alone and name in ("share", "alignment")):
                found[f"gradient/{policy}/{role}/{name}"] = number
        found |= names_of_policy(policy) if alone else {}
    return found


def names_of_policy(policy: str) -> dict[str, Number]:
    """Metric -> how it is looked at, for a policy."""
    return {f"policy/{policy}/{name}": number for name, number in OF_POLICIES.items()}


def _usual_and_after(history: History, name: str, peak: int, end: int) -> tuple[tuple[Series, Series], ...]:
    """The usual values and those after them, of training steps and of test evaluations; only finite ones."""
    first, last = reference_of(peak)
    steps, evaluations = history.series(name), history.evaluated(name)
    return (
        (_finite(steps.between(first, last)), _finite(steps.between(last + 1, end))),
        (_finite(_last(evaluations.between(1, last))), _finite(evaluations.between(last + 1, end))),
    )


def _change(name: str, usual: Series, after: Series, number: Number, row: int) -> Change | None:
    """The change from the usual values to those after; None unless the last `row` of these stand out."""
    if len(usual.values) < FEWEST or not after.values:
        return None
    centre = median(map(number.scaled, usual.values))
    spread = NORMAL * median(abs(number.scaled(value) - centre) for value in usual.values)
    least = max(ERRORS * spread, number.least_scaled)
    levels = [median(after.between(step - SMOOTH + 1, step).values) for step in after.steps]
    sizes = [(number.scaled(level) - centre) / least for level in levels]
    begun = _stays(sizes)
    if begun is None or len(sizes) - begun < row:
        return None
    return Change(
        metric=name, before=median(usual.values), after=levels[-1], step=after.steps[begun], size=abs(sizes[-1])
    )


def _last(series: Series) -> Series:
    return Series(series.steps[-EVALUATIONS:], series.values[-EVALUATIONS:])


def _finite(series: Series) -> Series:
    kept = [(step, value) for step, value in zip(*series, strict=True) if isfinite(value)]
    return Series(tuple(step for step, _ in kept), tuple(value for _, value in kept))


def _stays(sizes: Sequence[float]) -> int | None:
    """The first place from which all are at least 1 in the direction of the last one; None if the last one is not."""
    sign = 1.0 if sizes[-1] > 0.0 else -1.0
    place = len(sizes)
    while place and sign * sizes[place - 1] >= 1.0:
        place -= 1
    return place if place < len(sizes) else None
