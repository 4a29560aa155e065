"""Teams beside single agents that were trained with as many tokens."""

from collections import Counter
from collections.abc import Iterator, Sequence

from counterpoint.analysis.comparison import MARGIN
from counterpoint.errors import counted
from counterpoint.experiments.against_controls import AGAINST, against_controls
from counterpoint.experiments.compared import Difference
from counterpoint.experiments.matrices import has_outcomes
from counterpoint.reports.figures.controls import EVALUATED, control_differences
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.statement import Part, Statement, Verdict, not_run

_TITLE = "Is a team better than a single agent with as many tokens?"
_WORDS = {"peak": "at the peak", "terminal": "at the end"}


def single_agents(gathered: Gathered) -> Part:
    """Every team against every single agent with the same labels."""
    if not any(run.control and has_outcomes(run) for run in gathered.collected.runs):
        missing = "no single agent was trained to its end"
        return Part(title=_TITLE, statements=[not_run(missing)], figures=("controls",))
    found = against_controls(gathered.collected, gathered.compared.margin if gathered.compared else MARGIN)
    statements = [one for amount in AGAINST for one in _told([own for own in found if own.amount == amount])]
    if not statements:
        statements = [not_run("no team and single agent with the same labels and test tasks are both finished")]
    return Part(title=_TITLE, statements=[*statements, *evaluated(gathered)], figures=("controls",))


def evaluated(gathered: Gathered) -> Iterator[Statement]:
    """Beside each evaluation that serves as a control, the cells in which the team is ahead and behind."""
    margin = gathered.compared.margin if gathered.compared else MARGIN
    verdicts: dict[str, Counter[str]] = {}
    for one in control_differences(gathered.collected, margin):
        if one.amount == EVALUATED:
            verdicts.setdefault(one.control, Counter())[one.verdict] += 1
    for control, counts in verdicts.items():
        told = ", ".join(f"{verdict} in {counts[verdict]}" for verdict in ("ahead", "behind") if counts[verdict])
        left = f"{counts['cannot tell']} cannot be told" if counts["cannot tell"] else ""
        yield Statement(
            text=(
                f"beside the control {control}, of {counted(counts.total(), 'cell')} the team is"
                f" {' and '.join(filter(None, (told, left)))} (not corrected for their number)"
            )
        )


def _told(found: Sequence[Difference]) -> Iterator[Statement]:
    """The counts of verdicts, then the comparisons that were decided."""
    if not found:
        return
    ahead = [one for one in found if one.found.verdict == "ahead" and one.found.leader == one.found.one]
    behind = [one for one in found if one.found.verdict == "ahead" and one.found.leader != one.found.one]
    alike = [one for one in found if one.found.verdict == "alike"]
    decided = len(ahead) + len(behind) + len(alike)
    verdict: Verdict = "cannot tell"
    if 2 * decided > len(found) and len(ahead) in (0, decided):
        verdict = "yes" if ahead else "no"
    left = len(found) - decided
    seeds = min(min(one.found.seeds) for one in found)
    sizes = [one.found.needed for one in found if one.found.verdict == "cannot tell"]
    needed = sorted(size.seeds for size in sizes if size is not None and size.seeds is not None)
    span = f"{needed[0]} to {needed[-1]}" if len({*needed}) > 1 else "".join(map(str, needed[:1]))
    more = f"; those need about {span} seeds" if span else ""
    yield Statement(
        verdict=verdict,
        text=(
            f"{_WORDS[found[0].amount]}, of {counted(len(found), 'comparison')} the team is ahead in {len(ahead)}, the"
            f" single agent in {len(behind)}, {len(alike)} are alike, and {left} cannot be told (after Holm, at least"
            f" {counted(seeds, 'seed')}){more}"
        ),
    )
    for one in (*ahead, *behind, *alike):
        yield Statement(text=f"{_WORDS[one.amount]}, {one.block}: {one.found.sentence}")
