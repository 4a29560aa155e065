"""The diagnostics of an early warning: numbers of a role's gradients and replies, up to a step of training."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from counterpoint.analysis.signatures.base import Thresholds

Numbers = Mapping[str, Mapping[int, float]]
"""Name of a number in `metrics.jsonl` -> step -> value."""
_LIMITS = Thresholds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A number that may tell early whether a run falls."""

    pattern: re.Pattern[str]
    """The names of the number in `metrics.jsonl`; the groups `policy` and `role` where it has them."""
    threshold: float | None
    """That of the failure signature that looks at it; of amplification, per slot."""
    relative: bool = False
    """True if the value counts as a fraction of that at the start."""
    slots: bool = False
    """True if the value depends on the number of the role's parallel calls."""
    unit: str = ""
    """The words after a value."""


DIAGNOSTICS: Mapping[str, Diagnostic] = {
    "gradient share": Diagnostic(
        pattern=re.compile(r"gradient/(?P<policy>[^/]+)/(?P<role>[^/+]+)/share"), threshold=None, slots=True
    ),
    "dominance": Diagnostic(pattern=re.compile(r"gradient/(?P<policy>[^/]+)/dominance"), threshold=_LIMITS.dominance),
    "amplification": Diagnostic(
        pattern=re.compile(r"gradient/(?P<policy>[^/]+)/(?P<role>[^/+]+)/amplification"),
        threshold=_LIMITS.coherence,
        slots=True,
    ),
    "persistence": Diagnostic(
        pattern=re.compile(r"gradient/(?P<policy>[^/]+)/(?P<role>[^/+]+)/persistence"),
        threshold=_LIMITS.persistence,
        slots=True,
    ),
    "echo": Diagnostic(pattern=re.compile(r"role/(?P<role>[^/]+)/echo"), threshold=_LIMITS.echo),
    "entropy": Diagnostic(
        pattern=re.compile(r"role/(?P<role>[^/]+)/entropy"),
        threshold=_LIMITS.entropy_part,
        relative=True,
        unit=" of that at the start",
    ),
    "length": Diagnostic(
        pattern=re.compile(r"role/(?P<role>[^/]+)/tokens"),
        threshold=_LIMITS.growth,
        relative=True,
        unit=" of that at the start",
    ),
}


class Measured(NamedTuple):
    """A diagnostic of a role."""

    diagnostic: str
    role: str
    """Empty for a diagnostic of a policy."""
    slots: int
    """The role's parallel calls, where the diagnostic depends on them; 0 if it has none."""


def measured(numbers: Numbers, step: int) -> dict[Measured, float]:
    """The values of all diagnostics at a step: the mean over the second half of the steps up to it.

    A relative one is divided by its mean over the first fifth of these steps. Of a role with several policies, and of
    several policies with a dominance, the highest value counts. Values that are not finite are left out.
    """
    found: dict[Measured, float] = {}
    for kind, diagnostic in DIAGNOSTICS.items():
        for name, values in numbers.items():
            match = diagnostic.pattern.fullmatch(name)
            value = _value(values, step, diagnostic.relative) if match else None
            if match is None or value is None:
                continue
            role = match.groupdict().get("role", "")
            key = Measured(kind, role, slots_of(numbers, role) if diagnostic.slots else 0)
            found[key] = max(value, found.get(key, value))
    return found


def slots_of(numbers: Numbers, role: str) -> int:
    """The parallel calls of a role on one policy: its amplification divided by its coherence; 0 if it has none."""
    for name, values in numbers.items():
        if not re.fullmatch(rf"gradient/[^/]+/{re.escape(role)}/amplification", name):
            continue
        coherence = numbers.get(name.removesuffix("amplification") + "coherence", {})
        for step, value in values.items():
            if math.isfinite(value) and coherence.get(step, 0.0) > 0.0:
                return round(value / coherence[step])
    return 0


def _value(values: Mapping[int, float], step: int, relative: bool) -> float | None:
    now = _mean(values, step // 2 + 1, step)
    if not relative:
        return now
    start = _mean(values, 1, max(1, step // 5))
    return None if now is None or start is None or start <= 0.0 else now / start


def _mean(values: Mapping[int, float], first: int, last: int) -> float | None:
    kept = [value for at, value in values.items() if first <= at <= last and math.isfinite(value)]
    return fmean(kept) if kept else None
