"""The rates of failure signatures in runs that fell, and in runs that held.

A signature says what a run looked like at its end. Its rate in runs that fell tells how many falls it goes with; its
rate in runs that held is its false alarms. Runs of which it cannot be told are in neither, and are counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from counterpoint.analysis.falls import Fell, percent
from counterpoint.analysis.intervals import CONFIDENCE
from counterpoint.analysis.signatures import SIGNATURES

BY_DEFINITION = ("cliff", "fallen role")
"""The signatures that only a run that fell can show: they name the fall, and their rates say nothing."""
COLUMNS = ("signature", "in runs that fell", "in runs that held", "cannot tell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A run in which signatures were looked for."""

    fell: Fell
    signatures: frozenset[str]
    """The names of those that it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The runs that show a signature, among some, with the exact 95 % interval of Clopper and Pearson (1934)."""

    shown: int
    among: int
    low: float
    high: float

    @property
    def words(self) -> str:
        """`2 of 3 [9 %, 99 %]`; "no run" without one."""
        if not self.among:
            return "no run"
        return f"{self.shown} of {self.among} [{percent(self.low)}, {percent(self.high)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRate:
    """The rates of one signature."""

    signature: str
    fell: Count
    """In the runs that fell."""
    held: Count
    """In the runs that held: its false alarms."""
    cannot_tell: Count

    @property
    def is_by_definition(self) -> bool:
        """True if only a run that fell can show it."""
        return self.signature in BY_DEFINITION

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of a table whose columns are `COLUMNS`."""
        return self.signature, self.fell.words, self.held.words, f"{self.cannot_tell.shown} of {self.cannot_tell.among}"


def count(shown: int, among: int) -> Count:
    """The count with its interval; without a run it is [0, 1]. Raises ValueError if more show it than there are."""
    if not 0 <= shown <= among:
        raise ValueError(f"{shown} of {among} runs cannot show a signature")
    if not among:
        return Count(shown=0, among=0, low=0.0, high=1.0)
    from scipy.stats import binomtest  # 60 MiB, which a command without rates can do without

    found = binomtest(shown, among).proportion_ci(CONFIDENCE, method="exact")
    return Count(shown=shown, among=among, low=float(found.low), high=float(found.high))


def signature_rates(runs: Iterable[Looked], names: Sequence[str] = ()) -> tuple[SignatureRate, ...]:
    """The rates of every shipped signature, then of others that a run shows or `names` has, in this order.

    Signatures that no run shows are there too, with what their false alarms can still be.
    """
    every = list(runs)
    others = sorted({name for run in every for name in run.signatures})
    return tuple(_rate(name, every) for name in dict.fromkeys((*SIGNATURES.members, *names, *others)))


def _rate(name: str, runs: Sequence[Looked]) -> SignatureRate:
    def among(fell: Fell) -> Count:
        own = [run for run in runs if run.fell == fell]
        return count(sum(name in run.signatures for run in own), len(own))

    return SignatureRate(signature=name, fell=among("fell"), held=among("held"), cannot_tell=among("cannot tell"))
