"""Parts about what a study makes besides its runs: each says what is missing until it is there."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from counterpoint.analysis.contrast import CONFIDENCE, Estimate
from counterpoint.analysis.fallen import Explained
from counterpoint.analysis.multiplicity import holm
from counterpoint.analysis.outliers import points
from counterpoint.analysis.signature_rates import COLUMNS
from counterpoint.analysis.taught import Lesson
from counterpoint.errors import CounterpointError, counted
from counterpoint.experiments.prevented import COLUMNS as PREVENTED
from counterpoint.experiments.prevented import Prevented, rows_of
from counterpoint.experiments.preventing import BY, prevention
from counterpoint.experiments.signed import rates_of
from counterpoint.experiments.taught import taught as lessons_of
from counterpoint.reports.seen import Gathered, Seen
from counterpoint.reports.text.statement import Part, Rows, Statement, Verdict, not_run, p_of

_APART = ("task", "scale")
"""Axes whose labels have problems, or bases, of their own."""
_LEAST = 3
"""Falls of a kind from which on the page says which role falls first."""
_MOST = 4
"""Names that are counted in a sentence."""


def taught(gathered: Gathered) -> Part:
    """The answer to whether training taught something new, or made certain what was known."""
    title = "Did training teach something new?"
    axes = [axis for axis in _APART if any(axis in run.labels for run in gathered.collected.runs)]
    found = lessons_of(gathered.collected, by=axes)
    lessons = [(one.name, own) for one in found for own in one.lessons if own.problems and own.accuracy is not None]
    missing = [not_run(f"{one.name}: {line}") for one in found for line in one.missing]
    if not lessons:
        asked = "the control taught was not evaluated: tries of the base and of trained policies on further problems"
        return Part(title=title, statements=missing or [not_run(asked)])
    return Part(title=title, statements=[*_learned(lessons), *missing], figures=("taught",))


def _learned(lessons: Sequence[tuple[str, Lesson]]) -> Iterator[Statement]:
    """The gains on problems of each kind, those that the base never solves first."""
    ranked = sorted(lessons, key=lambda one: one[1].kind != "never")
    tested = [one for _, own in ranked if (one := _over_seeds(own)) is not None]
    p_values = iter(holm([one.p_value for one in tested]))
    for name, own in ranked:
        estimate = _over_seeds(own)
        p_value = next(p_values) if estimate is not None else None
        corrected = "" if p_value is None else f", {p_of(p_value)} after Holm over {len(tested)}"
        verdict: Verdict | None = None
        if own.kind == "never":
            is_there = p_value is not None and p_value <= 1 - CONFIDENCE
            verdict = "cannot tell"
            if is_there and estimate is not None:
                verdict = "yes" if estimate.value > 0 else "no"
        yield Statement(verdict=verdict, text=f"{name}: {own.sentence}{corrected}")


def _over_seeds(lesson: Lesson) -> Estimate | None:
    """The gain in accuracy over seeds and problems; None with one seed, or if it has no spread at all."""
    gain = lesson.accuracy.gain if lesson.accuracy is not None else None
    return gain.estimate if gain is not None and gain.over_seeds else None


def fell_first(gathered: Gathered) -> Part:
    """Which roles fell first, and what changed in them before."""
    title = "Which role fell first, and what had changed in it?"
    runs = [run for cell in gathered.cells if not cell.control for run in cell.finished if run.record.fell == "fell"]
    if not runs:
        return Part(title=title, statements=[Statement(verdict="cannot tell", text="no run is known to have fallen")])
    explained = {run.record.run: run.record.explained for run in runs if run.record.explained is not None}
    if not explained:
        return Part(title=title, statements=[not_run("the files are of a version that did not explain falls")])
    shown = [one for one in rates_of(gathered.collected) if one.fell.shown or one.held.shown]
    rates = [one.cells for one in shown if not one.is_by_definition]
    about = (
        "How often each failure signature shows in runs that fell, and in runs that held: its false alarms; with exact"
        " 95 % intervals over runs of all cells. Cliff and fallen role are the definition of a fall, and have no rate"
    )
    tables = [Rows(columns=COLUMNS, rows=rates, about=about)] if rates else []
    return Part(title=title, statements=list(_first(runs, explained)), tables=tables)


def _first(runs: Sequence[Seen], explained: Mapping[str, Explained]) -> Iterator[Statement]:
    kinds: dict[str, list[Explained]] = {}
    for run in runs:
        if run.record.run in explained:
            kinds.setdefault(f"{run.record.workflow}, {run.record.sharing}", []).append(explained[run.record.run])
    for kind, own in kinds.items():
        first = Counter(" together with ".join(sorted(one.first)) or "no role by its own measure" for one in own)
        is_known = len(own) >= _LEAST and any(len(one.first) == 1 for one in own)
        verdict: Verdict = "yes" if is_known else "cannot tell"
        yield Statement(verdict=verdict, text=f"{kind}: of {counted(len(own), 'fall')}, first fell {_counts(first)}")
        earliest = Counter(
            f"{found[1].number.rpartition('/')[2]} of {found[0]}" if (found := one.earliest) else "no number"
            for one in own
        )
        yield Statement(
            text=f"{kind}: by the team's onset, the number that first left its usual range was {_counts(earliest)}"
        )
    left = len(runs) - len(explained)
    if left:
        yield not_run(f"of {counted(left, 'run')} that fell, the files do not say which roles fell")


def _counts(found: Counter[str]) -> str:
    ranked = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    told = [f"{name} in {count}" for name, count in ranked[:_MOST]]
    rest = sum(count for _, count in ranked[_MOST:])
    return ", ".join([*told, *([f"others in {rest}"] if rest else [])])


def mended(gathered: Gathered) -> Part:
    """Which interventions prevent falls without a cost at the peak."""
    title = "Which interventions prevent falls?"
    if not any(BY in run.labels for run in gathered.collected.runs):
        missing = f"no run here has an intervention; a study of them, with an axis {BY}, has a page of its own"
        return Part(title=title, statements=[not_run(missing)])
    try:
        found = prevention(gathered.collected)
    except CounterpointError as error:
        return Part(title=title, statements=[not_run(str(error))])
    if not found.pooled:
        return Part(title=title, statements=[not_run(found.sentences[0])])
    return Part(title=title, statements=list(_prevented(found)), tables=[_preventions(found)])


def _prevented(found: Prevented) -> Iterator[Statement]:
    fell, answer, *rest = found.sentences
    verdict: Verdict = "yes" if found.preventing else "cannot tell"
    yield Statement(verdict=verdict, text=answer if found.preventing else f"{answer}{_would_be_found(found)}")
    yield from (Statement(text=text) for text in (fell, *rest))


def _would_be_found(found: Prevented) -> str:
    """The differences at the end that such a study mostly finds, of the labels for which it finds any."""
    ends = [one.kept.found for one in found.pooled]
    sizes = sorted(one.visible for one in ends if one.visible is not None and one.visible <= one.bound)
    if not sizes:
        return "; at the end no difference that there can be would be found in 80 % of such studies"
    span = " to ".join(dict.fromkeys([points(sizes[0]), points(sizes[-1])]))
    of = "" if len(sizes) == len(ends) else f", for {len(sizes)} of {counted(len(ends), 'label')}"
    return f"; at the end differences of {span} points would be found in 80 % of such studies{of}"


def _preventions(found: Prevented) -> Rows:
    about = (
        f"Every label of {found.by} against {found.reference}, differences in points with 95 % intervals over seeds and"
        " tasks, the best outcome first; p after Holm over all labels, and of the exact McNemar test of falls"
    )
    return Rows(columns=PREVENTED, rows=rows_of(found.pooled), about=about)
