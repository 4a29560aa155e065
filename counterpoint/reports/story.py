"""Findings in sentences made from verdicts, and the limits of what they show.

No sentence says more than the intervals allow: "cannot tell" and "alike" are findings too.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.analysis.comparison import Level
from counterpoint.analysis.falls import Rate, fate_of, rate_of
from counterpoint.analysis.verdict import ENDS_AT_PEAK, control_sentences, fate_in_words, points, verdict_on
from counterpoint.errors import RunError, counted
from counterpoint.experiments.against_controls import AGAINST, against_controls
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.compared import TEAM, Compared, Difference, GroupLevel
from counterpoint.experiments.groups import printable
from counterpoint.experiments.matrices import has_outcomes
from counterpoint.experiments.measured import TAUGHT
from counterpoint.experiments.taught import taught
from counterpoint.experiments.what import what_of
from counterpoint.models import MICRO_MODELS
from counterpoint.reports.before_falls import before_falls
from counterpoint.reports.seen import Gathered, Seen
from counterpoint.run import Run

if TYPE_CHECKING:
    from counterpoint.analysis.summary import Summary

FEW_EVALUATIONS = 8
"""Evaluations below which a peak is chosen among few, and the onset of a fall is rough."""
FEW_SEEDS = 5
_AS_IT_IS = ": run"
"""The end of the name of an evaluation of the run as it is, beside its control."""
_SHOWN = 3
"""Signatures that are named in the sentence about the most frequent ones."""


def sentences(gathered: Gathered) -> list[str]:
    """The findings, the most important first; of one run, its verdict.

    Verdicts of the comparison, falls, the highest peak, teams against single agents, what training taught, what came
    before falls, and the signatures that occur most.
    """
    runs = _teams(gathered)
    if len(runs) == 1:
        return [*of_one_run(runs[0]), *map(printable, _taught(gathered))]
    found = list(gathered.compared.sentences) if gathered.compared else list(gathered.reasons)
    if any(has_outcomes(run.record) for run in runs):
        found += _falls(gathered)
        found += _best(gathered.compared) if gathered.compared else []
        found += _controls(gathered)
        found += _taught(gathered)
        found += before_falls(gathered)
        found += _signatures(runs)
    return [printable(one) for one in found]


def of_one_run(run: Seen) -> list[str]:
    """The verdict on a run: its gain and loss, whether it fell, the controls in its evaluations, signs of failure."""
    record = run.record
    if not has_outcomes(record):
        state = "is finished, and was not evaluated after its base" if record.state == "finished" else _state(record)
        return [printable(f"{record.run} {state}: there is no verdict yet")]
    summary = _summary(run)
    found = list(verdict_on(summary)) if summary is not None else []
    found.append(_fate(run))
    found += control_sentences(summary.controls) if summary is not None else []
    signs = ", ".join(f"{one.signature} ({one.where})" for one in run.findings)
    return [printable(one) for one in (*found, *([f"signs of failure: {signs}"] if signs else []))]


def facts(gathered: Gathered) -> dict[str, str]:
    """Name -> text: what was compared, the runs, test tasks, versions, time and tokens."""
    runs = [run.record for run in _teams(gathered)]
    every = [run.record for cell in gathered.cells for run in cell.runs]
    finished = [run for run in every if has_outcomes(run)]
    states = Counter(run.state for run in runs)
    teams = [cell for cell in gathered.cells if not cell.control]
    tasks = [run.outcomes["task"].n_unique() for cell in teams for run in cell.finished]
    found = {
        "compared": what_of([run for run in runs if has_outcomes(run)]) or what_of(runs),
        "runs": f"{counted(len(teams), 'cell')}, {_seeds(gathered)}: "
        + ", ".join(f"{count} {state}" for state, count in states.most_common()),
        "controls": ", ".join(f"{name} ({counted(count, 'run')})" for name, count in _control_counts(every).items()),
        "test tasks": _span(tasks) if tasks else "",
        "versions": _listed(sorted({run.version for run in every if run.version})),
        "commits": _listed(sorted({run.commit[:12] for run in every if run.commit})),
        "training": _hours("wall-clock time of the steps", [run.seconds for run in finished]),
        "computing": _hours("CPU time", [run.cpu_seconds for run in finished]),
        "tokens": f"{sum(run.tokens for run in finished):,.0f} generated in training" if finished else "",
        "excluded": counted(len(gathered.excluded), "combination") if gathered.excluded else "",
    }
    return {name: printable(text) for name, text in found.items() if text}


def cannot_show(gathered: Gathered, *, directories: bool = True) -> list[str]:
    """The limits of these runs: seeds, tasks, models, steps, evaluations, and runs that are missing or were stopped.

    With `directories`, also what is not there where collected files are all there is.
    """
    runs = _teams(gathered)
    records = [run.record for run in runs]
    finished = [run for run in runs if has_outcomes(run.record)]
    if not finished:
        none = "No run is finished and evaluated after its base: nothing can be concluded yet."
        return [none, *map(printable, _unreadable(gathered))]
    found = [
        *_few_seeds(gathered),
        *_few_tasks(finished),
        *_small_models(records),
        *_few_evaluations(finished),
        *_short(finished),
        *_lost(records),
        *_unreadable(gathered),
        *(_without_directories(gathered) if directories else ()),
        *_smallest(gathered.compared),
    ]
    if gathered.excluded:
        found.append(f"{counted(len(gathered.excluded), 'combination')} of labels was left out on purpose.")
    if len({run.version for run in records if run.version}) > 1:
        found.append("The runs were made by several versions: differences between them may be those of the versions.")
    return [printable(one) for one in found]


def _teams(gathered: Gathered) -> list[Seen]:
    return [run for cell in gathered.cells if not cell.control for run in cell.runs]


def _state(record: RunRecord) -> str:
    progress = f" at step {record.steps} of {record.planned}" if record.planned and record.state != "absent" else ""
    return f"is {'training' if record.state == 'running' else record.state}{progress}"


def _summary(run: Seen) -> "Summary | None":
    """Raises RunError if the file is damaged."""
    try:
        return None if run.folder is None else Run.read(run.folder).summary
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{run.folder}/summary.json is damaged: {error}") from error


def _fate(run: Seen) -> str:
    """The fate in a sentence, from the evaluations or, if these are not there, from what was collected."""
    if run.folder is not None:
        read = Run.read(run.folder)
        fate = fate_of(read.evaluation_rows(), read.final_rows(), run.record.stopped)
        if fate is not None:
            return fate_in_words(fate)
    record, drop, fell = run.record, run.record.drop, run.record.fell or "cannot tell"
    told = "cannot tell whether it fell" if fell == "cannot tell" else fell
    if record.terminal_steps and record.peak_step == record.terminal_steps[-1]:
        return f"{told}: {ENDS_AT_PEAK}"
    return told if drop is None else f"{told}: it lost {points(drop.value, drop.low, drop.high)} from its peak"


def _falls(gathered: Gathered) -> Iterator[str]:
    """The falls of all runs of each group that is compared, where there are several blocks; else of all runs."""
    found = gathered.compared
    if found is not None and len(found.blocks) == 1 and len(found.blocks[0].groups) > 1:
        return  # the comparison says it
    by: dict[str, list[RunRecord]] = {}
    for run in _teams(gathered):
        label = run.record.labels.get(found.by, "") if found is not None and found.by else ""
        by.setdefault(label, []).append(run.record)
    rates = {label: _rate(runs) for label, runs in by.items() if any(has_outcomes(run) for run in runs)}
    if rates:
        yield "; ".join(f"{label}: {rate.words}" if label else rate.words for label, rate in rates.items())


def _rate(runs: Sequence[RunRecord]) -> Rate:
    lost = [None for run in runs if run.state in ("failed", "interrupted")]
    return rate_of([*(run.fell or "cannot tell" for run in runs if has_outcomes(run)), *lost])


def _best(found: Compared) -> Iterator[str]:
    """The group with the highest peak, and how many others its interval overlaps with."""
    levels = [one for one in found.levels if one.who == TEAM]
    if len(levels) < 3:
        return  # of two, the comparison says it
    best = max(levels, key=lambda one: one.peak.shown[0])
    near = sum(one.peak.shown[2] >= best.peak.shown[1] for one in levels if one is not best)
    others = f"the intervals of {near} of {len(levels) - 1} others overlap with it" if near else "no other is near"
    yield (
        f"highest peak: {_name(best)}, {_percent(best.peak)} over {counted(best.peak.seeds, 'seed')}; {others}, and the"
        " highest of many is high by chance too"
    )


def _name(one: GroupLevel) -> str:
    return f"{one.block}, {one.group}" if one.block else one.group


def _percent(level: Level) -> str:
    value, low, high = (100 * part for part in level.shown)
    return f"{value:.1f} % [{max(0.0, low):.1f}, {min(100.0, high):.1f}]"


def _controls(gathered: Gathered) -> Iterator[str]:
    """Teams against single agents that were trained with as many tokens."""
    if not any(run.control and has_outcomes(run) for run in gathered.collected.runs):
        return
    found = against_controls(gathered.collected, gathered.compared.margin if gathered.compared else 0.03)
    for amount in AGAINST:
        own = [one for one in found if one.amount == amount]
        if own:
            yield f"{'at the peak' if amount == 'peak' else 'at the end'}, teams against single agents: {_counts(own)}"


def _taught(gathered: Gathered) -> Iterator[str]:
    """The gains of training over all runs, on tasks that the base never solves, and on those that it sometimes does."""
    for own in taught(gathered.collected, ()):
        yield from (one.sentence for one in own.lessons if one.kind != "always" and one.problems)


def _counts(found: Sequence[Difference]) -> str:
    team = sum(one.found.leader == one.found.one and one.found.verdict == "ahead" for one in found)
    agent = sum(one.found.verdict == "ahead" for one in found) - team
    alike = sum(one.found.verdict == "alike" for one in found)
    open_ = len(found) - team - agent - alike
    told = [f"the team is ahead in {team}", f"the single agent in {agent}", f"{alike} alike", f"{open_} cannot tell"]
    return f"of {counted(len(found), 'comparison')} {', '.join(told)} (after Holm)"


def _signatures(runs: Sequence[Seen]) -> Iterator[str]:
    """The signatures that most runs show."""
    looked = [run for run in runs if run.record.state == "finished"]
    counts = Counter(name for run in looked for name in {one.partition(": ")[0] for one in run.record.signatures})
    if not counts:
        yield f"none of {counted(len(looked), 'finished run')} shows a failure signature"
        return
    told = [f"{name} in {count}" for name, count in counts.most_common(_SHOWN)]
    more = f" and {counted(len(counts) - _SHOWN, 'other signature')} in fewer" if len(counts) > _SHOWN else ""
    yield f"failure signatures, of {counted(len(looked), 'finished run')}: {', '.join(told)}{more}"


def _few_seeds(gathered: Gathered) -> Iterator[str]:
    counts = [len(cell.finished) for cell in gathered.cells if not cell.control and cell.finished]
    if min(counts) == 1:
        one = "One seed" if max(counts) == 1 else f"One seed in {counts.count(1)} of {counted(len(counts), 'cell')}"
        yield f"{one}: an interval over tasks alone says nothing of what another seed would give."
    elif min(counts) < FEW_SEEDS:
        yield f"{_span(counts)} seeds per cell: only large differences can be told from those between seeds."


def _few_tasks(finished: Sequence[Seen]) -> Iterator[str]:
    names = sorted({run.record.task for run in finished if run.record.task})
    if len(names) == 1:
        sets = len({run.record.tasks_sha256 for run in finished})
        yield f"One kind of task ({names[0]}{f', {sets} test sets' if sets > 1 else ''}): nothing is known of others."


def _small_models(records: Sequence[RunRecord]) -> Iterator[str]:
    models = sorted({Path(run.model).name for run in records if run.model})
    micro = [name for name in models if name in MICRO_MODELS]
    if micro and micro == models:
        yield f"Micro models alone ({', '.join(micro)}), made for tests on a laptop: larger ones may do otherwise."
    elif len(models) == 1:
        yield f"One base model ({models[0]}): others may do otherwise."


def _few_evaluations(finished: Sequence[Seen]) -> Iterator[str]:
    counts = [_evaluations(run) for run in finished]
    if min(counts) < FEW_EVALUATIONS:
        yield (
            f"{_span(counts)} evaluations after the base: the peak was chosen among few, and short changes between them"
            " are not seen."
        )


def _evaluations(run: Seen) -> int:
    import polars as pl

    return run.metrics.filter((pl.col("name") == "eval/test/accuracy") & (pl.col("step") > 0))["step"].n_unique()


def _short(finished: Sequence[Seen]) -> Iterator[str]:
    steps = [run.record.steps for run in finished]
    yield f"{_span(steps)} training steps: a fall or a gain that comes later is not seen."


def _lost(records: Sequence[RunRecord]) -> Iterator[str]:
    missing = Counter(run.state for run in records if not has_outcomes(run))
    if missing:
        told = ", ".join(f"{count} {state}" for state, count in missing.most_common())
        yield f"{sum(missing.values())} of {counted(len(records), 'run')} are not in the numbers ({told})."
    stopped = sum(bool(run.stopped) for run in records)
    if stopped:
        yield f"{counted(stopped, 'run')} stopped early: what they would have become at the end is not known."


def _unreadable(gathered: Gathered) -> Iterator[str]:
    """The reasons of runs that could not be read."""
    for run, reason in gathered.collected.unreadable.items():
        yield f"{run} cannot be read: {reason}"


def _without_directories(gathered: Gathered) -> Iterator[str]:
    """The finished runs of which collected files are all there is."""
    finished = [run for cell in gathered.cells for run in cell.finished]
    alone = [run for run in finished if run.folder is None]
    if alone:
        no_evidence = any(run.record.signatures and not run.findings for run in alone)
        evidence = ", and signatures are named without their evidence" if no_evidence else ""
        yield (
            f"The directories of {len(alone)} of {counted(len(finished), 'finished run')} are not there: the numbers"
            f" are from collected files, without episodes{evidence}."
        )


def _smallest(found: Compared | None) -> Iterator[str]:
    """The smallest differences that these runs could have shown; a cell whose seeds differ too much shows none."""
    every = [one.found.visible for one in found.team if one.found.visible is not None] if found is not None else []
    visible = [one for one in every if one < 1.0]
    if visible:
        low, high = f"{100 * min(visible):.1f}", f"{100 * max(visible):.1f}"
        span = f"{low} points" if low == high else f"{low} to {high} points, depending on the cell,"
        yield f"A true difference of less than {span} would mostly have been missed."


def _control_counts(runs: Sequence[RunRecord]) -> Counter[str]:
    trained = Counter(run.control for run in runs if run.control)
    taught = Counter(TAUGHT for run in runs if f"{TAUGHT}{_AS_IT_IS}" in run.controls)
    names = [name for run in runs for name in run.controls if not name.startswith(f"{TAUGHT}: ")]
    return trained + Counter(name for name in names if not name.endswith(_AS_IT_IS)) + taught


def _seeds(gathered: Gathered) -> str:
    counts = [len(cell.runs) for cell in gathered.cells if not cell.control]
    return f"{_span(counts)} seed{'' if counts and max(counts) == 1 else 's'} each"


def _hours(of: str, seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    if not known:
        return ""
    total, left = sum(known), len(seconds) - len(known)
    amount = f"{total / 3600:.1f} hours" if total >= 3600 else counted(round(total / 60), "minute")
    return f"{amount} of {of}" + (f" ({counted(left, 'run')} without a record)" if left else "")


def _span(numbers: Sequence[int]) -> str:
    if not numbers:
        return "0"
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
