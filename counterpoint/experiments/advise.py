"""A race between ways to share policies: pilots of a recipe, round by round, until one is ahead or time is over.

Everything that the race knows is read from its run directories, after each round again: a race that is killed and
started again goes on where it was, and ends with the same words. See `analysis/racing.py` for what decides it.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Protocol

from counterpoint.analysis.racing import FIRST, LAST, Standing, race
from counterpoint.errors import ConfigError, RunError, counted
from counterpoint.experiments.advice import Advice, result_of
from counterpoint.experiments.cells import Study
from counterpoint.experiments.check import check
from counterpoint.experiments.cost import available_memory
from counterpoint.experiments.evidence import reasons_of
from counterpoint.experiments.launch import launch
from counterpoint.experiments.pilots import COST, COST_STEPS, Pilots, pilots_of
from counterpoint.experiments.raced import DONE, Raced, common_outcomes, makespan, read_raced, span_of, worked
from counterpoint.experiments.runner import Outcome
from counterpoint.experiments.states import state_of
from counterpoint.run import Run

MINUTES = 60.0
MARGIN = 2.0
"""Points of accuracy within which arms count as alike."""
RUNS = Path("runs")
MEMORY = 0.9
"""The largest part of the free memory that runs side by side may need."""
MOST_JOBS = 1024


class Train(Protocol):
    """A function that trains pilots."""

    def __call__(self, study: Study, folder: Path, jobs: int, whole: Study) -> Outcome:
        """The cells of a study are brought as far as they can be, in its folder, so many side by side.

        `whole` is the study of which they are a part, with the cells that are done.
        """


class InterruptedRaceError(RunError):
    """A signal ended the race; the same command goes on."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__(f"interrupted; what is done stays in {folder}, and the same command goes on")
        self.signal = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The time and the margin that the user gives a race."""

    minutes: float = MINUTES
    margin: float = MARGIN
    """In points."""
    anyway: bool = False
    """Also race if 3 rounds do not fit."""
    more: bool = False
    """The minutes are for what is added now, whatever was spent before."""

    def check(self) -> None:
        """Raises ConfigError for a budget or a margin that cannot be."""
        if not (self.minutes > 0 and math.isfinite(self.minutes)):
            raise ConfigError(f"--minutes {self.minutes:g}: a budget is a number of minutes above 0")
        if not 0 < self.margin < 100:
            raise ConfigError(f"--margin {self.margin:g}: a margin is a number of points above 0 and below 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The rounds of a race that are done, as its directories show them."""

    runs: tuple[Raced, ...]
    """Every run of the rounds that are done."""
    lineup: tuple[tuple[str, ...], ...]
    """The arms of every round that is done, and of the next one."""
    standing: Standing

    @property
    def rounds(self) -> int:
        """The rounds that are done."""
        return len(self.lineup) - 1


def advise(
    recipe: str | Path,
    *overrides: str,
    minutes: float = MINUTES,
    arms: str | None = None,
    margin: float = MARGIN,
    steps: int | None = None,
    more: bool = False,
    anyway: bool = False,
    say: Callable[[str], None] = lambda line: None,
    train: Train | None = None,
    runs: Path = RUNS,
) -> Advice:
    """The advice whether the roles of a recipe should share a policy, from pilots that are trained within the minutes.

    `arms` are named as on the command line ("shared,isolated"), `margin` is in points. `say` is told what happens.
    `train` brings the cells of a study as far as they can be; processes are started for them if it is not given. Raises
    CounterpointError: before any training for whatever is wrong with the recipe, the arms or the time; afterwards if
    every run fails, or a signal ends the race.
    """
    ask = Ask(minutes=minutes, margin=margin, anyway=anyway, more=more)
    ask.check()
    pilots = pilots_of(str(recipe), overrides, arms=arms, steps=steps, margin=margin / 100, runs=runs)
    jobs = _planned(pilots)
    return hold(pilots, ask, train or _launched, jobs=jobs, say=say)


def hold(
    pilots: Pilots,
    ask: Ask,
    train: Train,
    *,
    jobs: int,
    say: Callable[[str], None] = lambda line: None,
    now: Callable[[], float] = time.monotonic,
) -> Advice:
    """The race, held until it is decided, its 8 rounds are done, or another round does not fit into the minutes.

    A round takes as long as its runs do, and what passed beside them (processes that start) in the longest one so far.
    """
    began, before = now(), _spent(pilots) if ask.more else 0.0
    known: dict[Path, Raced] = {}
    expected, aside = 0, 0.0
    while True:
        done = progress(pilots, ask.margin / 100, known)
        if done.rounds < expected and not done.standing.decided:
            raise RunError(f"{pilots.folder}: the runs of round {expected} are done, but cannot be read")
        if done.rounds and not any(run.outcomes for run in done.runs):
            raise RunError(f"every run failed, the first with: {done.runs[0].problem}; its log: {_log(pilots, done)}")
        if done.standing.decided or done.rounds >= LAST:
            break
        left = 60 * ask.minutes - max(now() - began, _spent(pilots) - before)
        seconds = round_seconds(pilots, done, jobs)
        started, worked_before = now(), _spent(pilots)
        if seconds is None:
            _calibrate(pilots, train, jobs, say)
            aside = max(0.0, now() - started - (_spent(pilots) - worked_before))
            continue
        if done.rounds == 0 and not _is_begun(pilots):
            _refuse_too_little(pilots, ask, left, seconds, jobs)
            say(f"a round of {counted(len(pilots.arms), 'run')} takes about {_minutes(seconds)}")
        expected = rounds = _next_rounds(done, jobs)
        if seconds + aside > left and not _goes_on_anyway(pilots, done, ask):
            break
        _trained(pilots, train, pilots.study(rounds, _lineup(done, rounds)), pilots.folder, jobs)
        aside = max(aside, now() - started - (_spent(pilots) - worked_before))
    return advice_of(pilots, done, ask, jobs)


def progress(pilots: Pilots, margin: float, known: dict[Path, Raced]) -> Progress:
    """The rounds that are done, and the race after them. Rounds after the one that decides do not count.

    `known` are runs that were read before, which do not change any more; it has the others afterwards.
    """
    arms = tuple(arm.name for arm in pilots.arms)
    runs: list[Raced] = []
    lineup = [arms]
    standing = race(common_outcomes(runs, arms)[0], (), margin)
    for count, seed in enumerate(pilots.seeds, start=1):
        found = [_read(arm, seed, pilots.path(arm, seed), known) for arm in lineup[-1]]
        if standing.decided or not all(run.is_done for run in found):
            break
        runs += found
        standing = race(common_outcomes(runs, arms)[0], pilots.seeds[:count], margin)
        lineup.append(standing.left)
    return Progress(runs=tuple(runs), lineup=tuple(lineup), standing=standing)


def _read(arm: str, seed: int, path: Path, known: dict[Path, Raced]) -> Raced:
    found = known.get(path) or read_raced(arm, seed, path)
    if found.is_done:
        known[path] = found
    return found


def round_seconds(pilots: Pilots, done: Progress, jobs: int) -> float | None:
    """The seconds of the next round: from the runs that are done, else from the calibration; None without either."""
    arms = done.lineup[-1]
    ran = [_typical(pilots, done, arm) for arm in arms]
    known = [seconds for seconds in ran if seconds is not None] or _calibrated(pilots, arms)
    if not known:
        return None
    return makespan([fmean(known) if seconds is None else seconds for seconds in ran], jobs)


def _planned(pilots: Pilots) -> int:
    """The runs that are trained side by side: one per core, as far as memory allows, or one on another device.

    Raises ConfigError for whatever keeps an arm from being trained, before anything is.
    """
    checked = check(pilots.study(1, [tuple(arm.name for arm in pilots.arms)]))
    checked.refuse_if_missing()
    if any(plan.config.model.device != "cpu" for plan in checked.plans.values()):
        return 1
    needed = max((plan.memory or 0 for plan in checked.plans.values()), default=0)
    free = available_memory()
    fit = int(MEMORY * free / needed) if needed and free else MOST_JOBS
    return max(1, min(len(os.sched_getaffinity(0)), fit))


def advice_of(pilots: Pilots, done: Progress, ask: Ask, jobs: int) -> Advice:
    """The advice from the rounds that are done."""
    arms = tuple(arm.name for arm in pilots.arms)
    outcomes, tasks, left_out = common_outcomes(done.runs, arms)
    seconds = round_seconds(pilots, done, jobs)
    return Advice(
        standing=done.standing,
        arms=tuple(result_of(arm.name, arm.policies, done.runs, outcomes[arm.name]) for arm in pilots.arms),
        margin=ask.margin / 100,
        steps=pilots.steps,
        tasks=tasks,
        left_out=left_out,
        samples=min((run.samples for run in done.runs if run.outcomes), default=0),
        minutes=None if done.standing.decided or done.rounds >= LAST or seconds is None else seconds / 60,
        train={arm.name: _command(pilots, arm.override) for arm in pilots.arms},
        go_on=_go_on(pilots, ask),
        **reasons_of(pilots.config, done.runs),
    )


def _command(pilots: Pilots, sharing: str) -> tuple[str, ...]:
    """The words of the command that trains the recipe as the arm does, to the recipe's own number of steps."""
    saved = pilots.config.evaluation.every % pilots.config.run.save_every == 0
    saving = () if saved else (f"run.save_every={pilots.config.evaluation.every}",)
    return ("counterpoint", "train", pilots.recipe, *pilots.overrides_of_user, sharing, *pilots.stopping(), *saving)


def _go_on(pilots: Pilots, ask: Ask) -> tuple[str, ...]:
    asked = [f"--arms={pilots.asked_arms}"] if pilots.asked_arms else []
    steps = [f"--steps={pilots.asked_steps}"] if pilots.asked_steps else []
    margin = [f"--margin={ask.margin:g}"] if ask.margin != MARGIN else []
    return ("counterpoint", "advise", pilots.recipe, *pilots.overrides_of_user, *asked, *steps, *margin, "--more")


def _launched(study: Study, folder: Path, jobs: int, whole: Study) -> Outcome:
    return launch(study, folder, jobs=jobs, whole=whole)


def _trained(pilots: Pilots, train: Train, study: Study, folder: Path, jobs: int) -> Outcome:
    """The cells are done; those that were done before are not started again.

    Raises InterruptedRaceError if a signal ended them, RunError if some cannot be done.
    """
    left = tuple(cell for cell in study.cells if state_of(folder / cell.name).state not in DONE)
    outcome = train(replace(study, cells=left or study.cells), folder, jobs, study)
    if outcome.signal is not None:
        raise InterruptedRaceError(pilots.folder, outcome.signal)
    if outcome.left:
        name, why = next(iter(outcome.left.items()))
        raise RunError(f"{folder / name} is not done: {why}; the same command goes on")
    return outcome


def _calibrate(pilots: Pilots, train: Train, jobs: int, say: Callable[[str], None]) -> None:
    """The short runs that measure the cost of a round are done. Raises RunError, with its reason, if one failed."""
    folder = pilots.folder / COST
    say(f"measuring what a round costs: {counted(COST_STEPS, 'step')} of each arm")
    outcome = _trained(pilots, train, pilots.calibration(), folder, jobs)
    for name, reason in outcome.failed.items():
        log = folder / "logs" / f"{name}.log"
        raise RunError(f"{name} cannot be trained: {reason}; its log: {log}; to try again, remove {folder / name}")
    if not _calibrated(pilots, [arm.name for arm in pilots.arms]):
        raise RunError(f"{folder}: the runs that measure a round hold no times; remove the folder to measure again")


def _calibrated(pilots: Pilots, arms: Sequence[str]) -> list[float]:
    """The seconds of a pilot of each arm that has a calibration."""
    return [pilots.seconds(*cost) for arm in arms if (cost := _cost(pilots.calibration_path(arm))) is not None]


def _cost(path: Path) -> tuple[float, float] | None:
    """The seconds of one step and of one evaluation of both splits in a finished calibration; None without one."""
    span = span_of(path) if (path / "summary.json").is_file() else None
    if span is None:
        return None
    steps = [row["time/step"] for row in Run.read(path).metric_rows() if "time/step" in row]
    if not steps:
        return None
    return min(steps), max(0.0, span[1] - span[0] - sum(steps)) / 2


def _typical(pilots: Pilots, done: Progress, arm: str) -> float | None:
    """The least time of a finished run of an arm: longer ones were interrupted; None without one."""
    spans = [span_of(run.path) for run in done.runs if run.arm == arm and run.outcomes]
    times = [last - first for first, last in filter(None, spans)]
    return min(times, default=None)


def _spent(pilots: Pilots) -> float:
    """The seconds for which runs of this race were at work."""
    cells = [pilots.path(arm.name, seed) for arm in pilots.arms for seed in pilots.seeds]
    return worked(span_of(path) for path in [*cells, *(pilots.calibration_path(arm.name) for arm in pilots.arms)])


def _goes_on_anyway(pilots: Pilots, done: Progress, ask: Ask) -> bool:
    """True for a round that does not fit, and is trained: one that has begun, or the first if the user wants it."""
    seed = pilots.seeds[done.rounds]
    begun = any(pilots.path(arm, seed).exists() for arm in done.lineup[-1])
    return begun or (ask.anyway and done.rounds == 0)


def _is_begun(pilots: Pilots) -> bool:
    return any(pilots.path(arm.name, seed).exists() for arm in pilots.arms for seed in pilots.seeds)


def _next_rounds(done: Progress, jobs: int) -> int:
    """The rounds that there will be next: one more or, before the first look, as many as fit side by side."""
    at_once = max(1, jobs // len(done.lineup[-1]))
    return max(done.rounds + 1, min(FIRST, done.rounds + at_once))


def _lineup(done: Progress, rounds: int) -> list[tuple[str, ...]]:
    """The arms of every round up to the next ones, in which those that are left now take part."""
    return [*done.lineup[:-1], *[done.lineup[-1]] * (rounds - done.rounds)]


def _refuse_too_little(pilots: Pilots, ask: Ask, left: float, seconds: float, jobs: int) -> None:
    """Raises ConfigError if fewer than 3 rounds fit, unless that is to be ignored; it says what would fit."""
    if FIRST * seconds <= left or ask.anyway:
        return
    used = 60 * ask.minutes - left
    needed = math.ceil((FIRST * seconds + used) / 60)
    shorter = _steps_that_fit(pilots, left / FIRST, jobs)
    fit = f"or --steps {shorter}" if shorter else "and no smaller number of steps fits"
    raise ConfigError(
        f"--minutes {ask.minutes:g}: a verdict needs at least {FIRST} rounds, of about {_minutes(seconds)} each: give"
        f" --minutes {needed}, {fit}; --anyway trains what fits, without a verdict"
    )


def _steps_that_fit(pilots: Pilots, seconds: float, jobs: int) -> int | None:
    """The largest number of steps with which a round takes no longer; None if there is none."""
    costs = [_cost(pilots.calibration_path(arm.name)) for arm in pilots.arms]
    for steps in range(pilots.steps - 1, 0, -1):
        shorter = pilots.with_steps(steps)
        if makespan([shorter.seconds(*cost) for cost in costs if cost is not None], jobs) <= seconds:
            return steps
    return None


def _log(pilots: Pilots, done: Progress) -> Path:
    return pilots.folder / "logs" / f"{done.runs[0].path.name}.log"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
