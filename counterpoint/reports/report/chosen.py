"""The example episodes of a report: of every cell, and for the signatures that its runs show."""

from collections.abc import Iterator, Mapping, Sequence

from counterpoint.errors import CounterpointError
from counterpoint.reports.episodes.examples import Example as Chosen
from counterpoint.reports.episodes.examples import examples_of, examples_of_finding, within_budget
from counterpoint.reports.markup import environment
from counterpoint.reports.report.parts import Example
from counterpoint.reports.seen import CellSeen, Seen
from counterpoint.run import Run

_KINDS = {"helped": "The team helped", "hurt": "The team hurt", "unanimous": "All agreed on a wrong answer"}


def chosen_examples(cells: Sequence[CellSeen]) -> Mapping[str, list[Example]]:
    """Cell -> its episodes, as far as all together take no more room than a page has for them."""
    of = [(cell.name, one) for cell in cells for one in _of_cell(cell)]
    kept, _ = within_budget([one for _, one in of], _size)
    ids = {id(one) for one in kept}
    found: dict[str, list[Example]] = {}
    for name, one in of:
        if id(one) in ids:
            found.setdefault(name, []).append(
                Example(title=f"{_KINDS.get(one.kind, one.kind)}: {one.why}", view=one.view)
            )
    return found


def _of_cell(cell: CellSeen) -> Iterator[Chosen]:
    """Episodes of its first readable finished run, and for each signature those of the run that first shows it."""
    for run in cell.finished[:1]:
        yield from _read(run, "")
    told: set[str] = set()
    for run in cell.runs:
        for finding in run.findings:
            if finding.signature not in told:
                told.add(finding.signature)
                yield from _read(run, finding.signature)


def _read(run: Seen, signature: str) -> list[Chosen]:
    """The episodes of a run; none where its directory cannot be read any more."""
    if run.folder is None:
        return []
    try:
        there = Run.read(run.folder)
        if not signature:
            return examples_of(there)
        finding = next(one for one in run.findings if one.signature == signature)
        return examples_of_finding(there, finding)
    except (CounterpointError, OSError):
        return []


def _size(one: Chosen) -> int:
    template = environment().from_string('{% from "_episode.html" import episode %}{{ episode(view) }}')
    return len(template.render(view=one.view).encode("utf-8", "surrogatepass"))
