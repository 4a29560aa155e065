"""Which failure signatures occur in which of the compared methods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from counterpoint.analysis.contrast import CONFIDENCE
from counterpoint.analysis.falls import Fell, mcnemar, rate
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import counted
from counterpoint.experiments.compared import Compared
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.captured import RARE
from counterpoint.reports.text.statement import Part, Rows, Statement, listed, not_run, p_of

_MANY = 3
"""Runs of a workflow from which on the page says that all of them show a signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurs:
    """A failure signature in the runs of every method."""

    signature: str
    counts: Mapping[str, tuple[int, int]]
    """Method -> the runs that show it, and all finished runs."""
    workflows: Mapping[str, tuple[int, int]]
    """Workflow -> the same, of those in which some run shows it: not every workflow can."""
    p_value: float | None
    """That of the exact McNemar test of two methods over pairs of runs, corrected for the signatures; None with one
    method, with more than two, or with one seed."""

    @property
    def differs(self) -> bool:
        """True if one of two methods shows it more often."""
        return self.p_value is not None and self.p_value <= 1 - CONFIDENCE

    @property
    def sentence(self) -> str:
        """The counts, and the test."""
        told = ", ".join(f"{name} {own} of {runs}" for name, (own, runs) in self.counts.items())
        return f"{self.signature}: {told}" + ("" if self.p_value is None else f" ({p_of(self.p_value)})")


def occurring(found: Compared) -> list[Occurs]:
    """Every signature that some finished run shows, the most frequent first."""
    runs: dict[str, dict[tuple[str, int], set[str]]] = {}
    for block in found.blocks:
        for group in block.groups:
            shown = {(block.name, run.seed): {one.partition(": ")[0] for one in run.signatures} for run in group.runs}
            runs.setdefault(group.name, {}).update(shown)
    runs = {name: own for name, own in runs.items() if own}
    names = sorted({name for own in runs.values() for one in own.values() for name in one})
    p_values: list[float | None] = [None] * len(names)
    seeds = {seed for own in runs.values() for _, seed in own}
    if len(runs) == 2 and len(seeds) > 1:
        p_values = [*holm([_paired(name, *runs.values()) for name in names])]
    made = [
        Occurs(
            signature=name,
            counts={method: (sum(name in one for one in own.values()), len(own)) for method, own in runs.items()},
            workflows={workflow: (own, every) for workflow, own, every in _by_workflow(found, name) if own},
            p_value=p_value,
        )
        for name, p_value in zip(names, p_values, strict=True)
    ]
    return sorted(made, key=lambda one: (-sum(own for own, _ in one.counts.values()), one.signature))


def _by_workflow(found: Compared, signature: str) -> Iterator[tuple[str, int, int]]:
    """Each workflow, its runs that show a signature, and all of its finished runs."""
    runs: dict[str, list[bool]] = {}
    for block in found.blocks:
        for run in (run for group in block.groups for run in group.runs):
            names = {one.partition(": ")[0] for one in run.signatures}
            runs.setdefault(run.labels.get("workflow", run.workflow), []).append(signature in names)
    yield from ((workflow, sum(own), len(own)) for workflow, own in runs.items())


def _shown(is_there: bool) -> Fell:
    """The event of the test, in the words of falls."""
    return "fell" if is_there else "held"


def _paired(signature: str, *sides: Mapping[tuple[str, int], set[str]]) -> float:
    """The p-value of the exact McNemar test over pairs of runs with the same cell and seed."""
    one, other = ({key: _shown(signature in shown) for key, shown in side.items()} for side in sides)
    return mcnemar(one, other).p_value


def failures(gathered: Gathered) -> Part:
    """The failure signatures of the compared methods, and whether one shows them more often."""
    title = "Do they fail in different ways?"
    found = gathered.compared
    if found is None:
        return Part(title=title, statements=[not_run(listed(gathered.reasons))])
    every = occurring(found)
    return Part(title=title, statements=list(_told(every, found)), tables=list(_table(every)), figures=("signatures",))


def _told(every: list[Occurs], found: Compared) -> Iterator[Statement]:
    runs = sum(len(group.runs) for block in found.blocks for group in block.groups)
    if not every:
        at_most = rate(0, runs).at_most
        yield Statement(
            verdict="no" if at_most <= RARE else "cannot tell",
            text=f"none of {counted(runs, 'finished run')} shows a failure signature; a rate of up to"
            f" {100 * at_most:.0f} % is still possible",
        )
        return
    differ = [one for one in every if one.differs]
    family = f"after Holm over {counted(len(every), 'signature')}, exact McNemar test over pairs of runs"
    if differ:
        yield Statement(verdict="yes", text=f"{'; '.join(one.sentence for one in differ)} ({family})")
    elif every[0].p_value is not None:
        yield Statement(
            verdict="cannot tell",
            text=f"no signature is known to be more frequent in one of them ({family}, {counted(runs, 'run')})",
        )
    most = [f"{one.signature} in {sum(own for own, _ in one.counts.values())}" for one in every[:5]]
    yield Statement(text=f"of {counted(runs, 'finished run')}, most often: {', '.join(most)}")
    for one in every:
        for workflow, (own, among) in one.workflows.items():
            if own == among >= _MANY:
                yield Statement(text=f"{one.signature} shows in all {among} runs of {workflow}")


def _table(every: list[Occurs]) -> Iterator[Rows]:
    if not every:
        return
    names = list(every[0].counts)
    rows = [
        (
            one.signature,
            *(f"{own} of {runs}" for own, runs in one.counts.values()),
            "-" if one.p_value is None else f"{one.p_value:.2g}",
            ", ".join(f"{name} {own} of {among}" for name, (own, among) in one.workflows.items()),
        )
        for one in every
    ]
    yield Rows(
        columns=("failure signature", *names, "p", "in workflows"),
        rows=rows,
        about=(
            "Finished runs that show a signature, of all cells; p of the exact McNemar test over pairs of runs with the"
            " same cell and seed, after Holm; the last column has the workflows in which a run shows it, as not every"
            " workflow can"
        ),
    )
