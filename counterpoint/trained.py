"""A run trained to its last step, in sight of a person: its progress, and where it stands when it is interrupted."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.console import Console

from counterpoint.errors import counted
from counterpoint.event_loop import Terminated, run_to_end
from counterpoint.extension import extend
from counterpoint.files import command
from counterpoint.plan.plan import Plan
from counterpoint.plan.startable import check_startable
from counterpoint.progress import Progress
from counterpoint.run import Run
from counterpoint.starting import cpu_recorded, failure_recorded
from counterpoint.trackers.tracking import tracked
from counterpoint.training import Watch, lasting_facts
from counterpoint.training import train as train_run

_LOG = logging.getLogger(__name__)


def accept(run: Run, overrides: Sequence[str], planned: Plan) -> None:
    """A run that was reopened with overrides has them written down; `planned` is its plan with them.

    Raises CounterpointError if the run could not go on so; then it is as it was.
    """
    if overrides:
        check_startable(planned)
        run.pin(lasting_facts(planned.setup))
        extend(run, overrides)


def carry_on(
    run: Run, planned: Plan, *, progress: bool = True, watch: Watch | None = None, console: Console | None = None
) -> None:
    """An opened run, trained from its last checkpoint to its last step, and shown on a console if one is given.

    Raises CounterpointError.
    """
    # In a notebook it prints, as evaluations do. Text is shown as it is: names and paths may hold `[b]` and `:a:`.
    plain = partial(Console, highlight=False, markup=False, emoji=False, force_jupyter=False)
    console = console or plain()
    saved = run.checkpoints()
    first = saved[-1] if saved else 0
    shown = Progress(console, planned.setup.routing, first, run.config.run.steps)
    show = partial(console.print, markup=False, soft_wrap=True)
    warn, say = (partial(show, style="bold"), show) if progress else (_LOG.warning, _LOG.info)
    try:
        # A tracker ends before a run that failed is discarded, and its CPU time is not the run's.
        with failure_recorded(run), tracked(run, warn, say) as track, cpu_recorded(run):
            _watched(run, planned, console, shown if progress else None, _both(track, watch or _nothing))
    except (KeyboardInterrupt, Terminated):
        kept = run.checkpoints()
        state = f"step {kept[-1]} is saved" if kept and kept[-1] else "no step is saved yet"
        line = f"interrupted, {state}; to continue: {command('resume', run.path)}"
        if run.is_finished:  # a tracker was waited for
            line = f"interrupted, the run is finished: {run.path}"
        plain(stderr=True).print(line, soft_wrap=True)
        raise


def _watched(run: Run, planned: Plan, console: Console, shown: Progress | None, watch: Watch) -> None:
    if shown is None:
        run_to_end(train_run(run, watch, planned.setup))
        return
    console.print(f"run: {run.path}", markup=False, soft_wrap=True)
    for line in planned.adapters if planned.partly_adapted else ():
        console.print(f"adapters: {line}", markup=False, soft_wrap=True)
    for line in planned.warnings:
        console.print(f"warning: {line}", markup=False, soft_wrap=True)
    if not run.checkpoints():
        console.print(f"evaluating before the first step: {_tasks_of_evaluation(planned)} ...", soft_wrap=True)
    with shown:
        run_to_end(train_run(run, _both(shown, watch), planned.setup))


def _tasks_of_evaluation(planned: Plan) -> str:
    counts = planned.splits
    return f"{counted(counts['validation'], 'validation task')} and {counted(counts['test'], 'test task')}"


def _both(one: Callable[..., None], other: Callable[..., None]) -> Watch:
    def told(step: int, numbers: Mapping[str, float]) -> None:
        one(step, numbers)
        other(step, numbers)

    return told


def _nothing(step: int, numbers: Mapping[str, float]) -> None:
    """Nobody watches."""
