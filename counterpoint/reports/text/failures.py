"""Which failure signatures occur in which of the compared methods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from counterpoint.analysis.contrast import CONFIDENCE
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import counted
from counterpoint.experiments.compared import Compared
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.statement import Part, Rows, Statement, listed, not_run, p_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurs:
    """A failure signature in the runs of every method."""

    signature: str
    counts: Mapping[str, tuple[int, int]]
    """Method -> the runs that show it, and all finished runs."""
    p_value: float | None
    """Fisher's exact test of two methods, corrected for the signatures; None with more methods or with one."""

    @property
    def differs(self) -> bool:
        """True if one of two methods shows it more often."""
        return self.p_value is not None and self.p_value <= 1 - CONFIDENCE

    @property
    def sentence(self) -> str:
        """The counts, and the test."""
        told = ", ".join(f"{name} {own} of {runs}" for name, (own, runs) in self.counts.items())
        return f"{self.signature}: {told}" + ("" if self.p_value is None else f" ({p_of(self.p_value)})")


def fisher(one: tuple[int, int], other: tuple[int, int]) -> float:
    """The two-sided p-value of Fisher's exact test (1935) that events are as frequent: (with the event, all) twice."""
    from scipy.stats import fisher_exact

    return float(fisher_exact(np.array([(own, every - own) for own, every in (one, other)])).pvalue)


def occurring(found: Compared) -> list[Occurs]:
    """Every signature that some finished run shows, the most frequent first."""
    runs: dict[str, list[set[str]]] = {}
    for block in found.blocks:
        for group in block.groups:
            own = [{text.partition(": ")[0] for text in run.signatures} for run in group.runs]
            runs.setdefault(group.name, []).extend(own)
    runs = {name: own for name, own in runs.items() if own}
    names = sorted({name for own in runs.values() for one in own for name in one})
    counts = {
        name: {method: (sum(name in one for one in own), len(own)) for method, own in runs.items()} for name in names
    }
    p_values: list[float | None] = [None] * len(names)
    if len(runs) == 2:
        p_values = [*holm([fisher(*counts[name].values()) for name in names])]
    made = [
        Occurs(signature=name, counts=counts[name], p_value=p_value)
        for name, p_value in zip(names, p_values, strict=True)
    ]
    return sorted(made, key=lambda one: (-sum(own for own, _ in one.counts.values()), one.signature))


def failures(gathered: Gathered) -> Part:
    """Whether the compared methods fail in different ways."""
    title = "Do they fail in different ways?"
    found = gathered.compared
    if found is None:
        return Part(title=title, statements=[not_run(listed(gathered.reasons))])
    every = occurring(found)
    return Part(title=title, statements=list(_told(every, found)), tables=list(_table(every)), figures=("signatures",))


def _told(every: list[Occurs], found: Compared) -> Iterator[Statement]:
    runs = sum(len(group.runs) for block in found.blocks for group in block.groups)
    if not every:
        yield Statement(verdict="no", text=f"none of {counted(runs, 'finished run')} shows a failure signature")
        return
    differ = [one for one in every if one.differs]
    family = f"after Holm over {counted(len(every), 'signature')}, Fisher's exact test over runs of all cells"
    if differ:
        yield Statement(verdict="yes", text=f"{'; '.join(one.sentence for one in differ)} ({family})")
    elif every[0].p_value is not None:
        yield Statement(
            verdict="cannot tell",
            text=f"no signature is known to be more frequent in one of them ({family}, {counted(runs, 'run')})",
        )
    most = [f"{one.signature} in {sum(own for own, _ in one.counts.values())}" for one in every[:5]]
    yield Statement(text=f"of {counted(runs, 'finished run')}, most often: {', '.join(most)}")


def _table(every: list[Occurs]) -> Iterator[Rows]:
    if not every:
        return
    names = list(every[0].counts)
    rows = [
        (
            one.signature,
            *(f"{own} of {runs}" for own, runs in one.counts.values()),
            "-" if one.p_value is None else f"{one.p_value:.2g}",
        )
        for one in every
    ]
    yield Rows(
        columns=("failure signature", *names, "p"),
        rows=rows,
        about="Finished runs that show a signature, of all cells; p of Fisher's exact test after Holm",
    )
