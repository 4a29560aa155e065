"""The example episodes of a report: of every cell, and for the signatures that its runs show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from counterpoint.errors import CounterpointError, counted
from counterpoint.experiments.groups import printable
from counterpoint.reports.episodes.examples import Example as Chosen
from counterpoint.reports.episodes.examples import examples_of, examples_of_finding, within_budget
from counterpoint.reports.markup import environment
from counterpoint.reports.report.parts import Example
from counterpoint.reports.seen import CellSeen, Seen
from counterpoint.run import Run

_KINDS = {"helped": "The team helped", "hurt": "The team hurt", "unanimous": "All agreed on a wrong answer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenExamples:
    """The episodes on a page, and those that are not on it."""

    by_cell: Mapping[str, Sequence[Example]]
    missing: Sequence[str] = ()
    """Sentences: the runs whose episodes cannot be read, and the number of episodes that have no room."""


def chosen_examples(cells: Sequence[CellSeen]) -> ChosenExamples:
    """The episodes of each cell, as far as all together take no more room than a page has for them."""
    unreadable: dict[str, str] = {}
    of = [(cell.name, one) for cell in cells for one in _of_cell(cell, unreadable)]
    kept, cut = within_budget([one for _, one in of], _size)
    ids = {id(one) for one in kept}
    found: dict[str, list[Example]] = {}
    for name, one in of:
        if id(one) in ids:
            found.setdefault(name, []).append(
                Example(title=f"{_KINDS.get(one.kind, one.kind)}: {one.why}", view=one.view)
            )
    missing = [f"The episodes of {run} cannot be read: {reason}" for run, reason in unreadable.items()]
    if cut:
        some = counted(cut, "example episode")
        missing.append(f"{some} had no room on this page: they are in the directories of the runs.")
    return ChosenExamples(by_cell=found, missing=[printable(one) for one in missing])


def _of_cell(cell: CellSeen, unreadable: dict[str, str]) -> Iterator[Chosen]:
    """Episodes of its first readable finished run, and for each signature those of the run that first shows it."""
    for run in cell.finished[:1]:
        yield from _read(run, "", unreadable)
    told: set[str] = set()
    for run in cell.runs:
        for finding in run.findings:
            if finding.signature not in told:
                told.add(finding.signature)
                yield from _read(run, finding.signature, unreadable)


def _read(run: Seen, signature: str, unreadable: dict[str, str]) -> list[Chosen]:
    """The episodes of a run; none where they cannot be read, for the reason that is added to `unreadable`."""
    if run.folder is None:
        return []
    try:
        there = Run.read(run.folder)
        if not signature:
            return examples_of(there)
        finding = next(one for one in run.findings if one.signature == signature)
        return examples_of_finding(there, finding)
    except (CounterpointError, OSError, ValueError, KeyError, TypeError) as error:
        unreadable[run.record.run] = str(error) if isinstance(error, CounterpointError) else repr(error)
        return []


def _size(one: Chosen) -> int:
    template = environment().from_string('{% from "_episode.html" import episode %}{{ episode(view) }}')
    return len(template.render(view=one.view).encode("utf-8", "surrogatepass"))
