"""Claims of a published study, judged by the runs that are there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from counterpoint.errors import ConfigError, unknown
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.statement import Part, Verdict

Judgement = Literal["agrees", "disagrees", "cannot tell", "not run yet"]
WORDS: Mapping[Verdict, Judgement] = {
    "yes": "agrees",
    "no": "disagrees",
    "cannot tell": "cannot tell",
    "not run yet": "not run yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The judgement on a claim by the runs."""

    judgement: Judgement
    because: str
    """The numbers, in a sentence without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement of a published study, in our words."""

    says: str
    judge: Callable[[Gathered], Judged]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of one publication, and what is to be said with them."""

    name: str
    """The publication, such as `arXiv 2605.24202`."""
    about: str
    """Its experiments, in a sentence or two."""
    claims: Sequence[Claim]
    parts: Sequence[Callable[[Gathered], Part]]
    """Further questions that its settings raise."""
    limits: Sequence[str]
    """The limits of the runs here, in whole sentences."""


def claims_of(name: str) -> Claims | None:
    """The claims of this name; None for no name. Raises ConfigError, with those that there are, for an unknown one."""
    from counterpoint.reports.text.zeng2026 import ZENG2026

    known = {"zeng2026": ZENG2026}
    if name and name not in known:
        raise ConfigError(unknown("set of claims", name, list(known)))
    return known.get(name)
