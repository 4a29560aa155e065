"""Teams beside single agents that were trained with at least as many tokens."""

from collections import Counter
from collections.abc import Iterator, Sequence

from counterpoint.analysis.comparison import MARGIN, in_points
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import counted
from counterpoint.experiments.against_controls import AGAINST, OnAverage, against_controls, on_average, tokens_beside
from counterpoint.experiments.compared import Difference
from counterpoint.experiments.matrices import has_outcomes
from counterpoint.reports.figures.controls import EVALUATED, control_differences
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.statement import Part, Statement, is_higher, not_run, p_of, why, with_interval

_TITLE = "Is a team better than a single agent with at least as many tokens?"
_WORDS = {"peak": "at the peak", "terminal": "at the end"}


def single_agents(gathered: Gathered) -> Part:
    """Every team against every single agent with the same labels."""
    if not any(run.control and has_outcomes(run) for run in gathered.collected.runs):
        missing = "no single agent was trained to its end"
        return Part(title=_TITLE, statements=[not_run(missing)], figures=("controls",))
    margin = gathered.compared.margin if gathered.compared else MARGIN
    found = against_controls(gathered.collected, margin)
    means = [one for amount in AGAINST if (one := on_average(gathered.collected, amount)) is not None]
    statements = list(_averages(means, margin))
    if found and not statements:
        statements.append(Statement(verdict="cannot tell", text="no team and its single agent have two seeds each"))
    statements += [one for amount in AGAINST for one in _told([own for own in found if own.amount == amount])]
    statements += list(_tokens(gathered)) if found else []
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


def _averages(means: Sequence[OnAverage], margin: float) -> Iterator[Statement]:
    """The answer: over all pairs of a team and a single agent, corrected for the number of amounts."""
    for one, p_value in zip(means, holm([one.estimate.p_value for one in means]), strict=True):
        found, pairs = one.estimate, counted(one.pairs, "comparison")
        verdict = is_higher(found, p_value, margin, len(means))
        yield Statement(
            verdict=verdict,
            text=(
                f"{_WORDS[one.amount]}: the team minus the single agent is"
                f" {with_interval(found.value, found.low, found.high)} on average over {pairs}"
                f" ({counted(found.seeds, 'seed')} each, {found.tasks} tasks, {p_of(p_value)} after Holm over"
                f" {len(means)}){why(verdict, found.value, p_value, margin)}; it is below 0 in {one.below} of them and"
                f" above in {one.above}"
            ),
        )


def _tokens(gathered: Gathered) -> Iterator[Statement]:
    """The tokens of the single agents beside those of their teams."""
    found = tokens_beside(gathered.collected)
    if found:
        told = [f"{workflow} {_times(least, most)}" for workflow, (least, most) in found.items()]
        yield Statement(
            text=f"tokens that a single agent generated in training for each of its team: {', '.join(told)}"
        )


def _times(least: float, most: float) -> str:
    ends = [f"{least:.1f}", f"{most:.1f}"]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _told(found: Sequence[Difference]) -> Iterator[Statement]:
    """The counts of verdicts, then the comparisons that were decided."""
    if not found:
        return
    ahead = [one for one in found if one.found.verdict == "ahead" and one.found.leader == one.found.one]
    behind = [one for one in found if one.found.verdict == "ahead" and one.found.leader != one.found.one]
    alike = [one for one in found if one.found.verdict == "alike"]
    left = len(found) - len(ahead) - len(behind) - len(alike)
    over = f"after Holm over {max(one.found.comparisons for one in found)}"
    yield Statement(
        text=(
            f"{_WORDS[found[0].amount]}, cell by cell, of {counted(len(found), 'comparison')} the team is ahead in"
            f" {len(ahead)}, the single agent in {len(behind)}, {len(alike)} are alike, and {left} cannot be told"
            f" ({over}){_needed(found)}"
        )
    )
    for one in (*ahead, *behind, *alike):
        yield Statement(text=f"{_WORDS[one.amount]}, {one.block}: {one.found.sentence}")


def _needed(found: Sequence[Difference]) -> str:
    """The seeds that would find the margin, where it cannot be told."""
    sizes = [one.found.needed for one in found if one.found.verdict == "cannot tell"]
    needed = sorted(size.seeds for size in sizes if size is not None and size.seeds is not None)
    span = f"{needed[0]} to {needed[-1]}" if len({*needed}) > 1 else "".join(map(str, needed[:1]))
    return f"; a difference of {in_points(found[0].found.margin)} needs about {span} seeds" if span else ""
