"""Estimates of what a study costs, before it starts: time, disk and memory, against what this machine has."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from counterpoint.config import Config
from counterpoint.errors import ConfigError, CounterpointError, counted
from counterpoint.experiments.check import CellPlan, Checked
from counterpoint.experiments.jobs import result_of
from counterpoint.run import Run

FULL = 0.9
"""A study that needs more than this part of the available memory is refused."""
_LIBRARIES = 700 * 2**20
"""Bytes of Python, torch and transformers in each process."""
_START = 10.0
"""Seconds until a process has begun its first evaluation."""
How = Literal["measured", "floor", "unknown"]


class Pace(NamedTuple):
    """Seconds of a run's parts."""

    step: float
    evaluation: float
    """An evaluation of both splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The estimate for the runs of a study that are not finished."""

    jobs: int
    """The processes at the same time: those that were asked for, or fewer if no more are left to start."""
    by_run: Mapping[str, float]
    """Run -> its seconds; without those of unknown time."""
    seconds: Mapping[How, float]
    """The same in all, by how they are known; "unknown" has none."""
    runs: Mapping[How, int]
    """Runs by how their time is known."""
    finished: int
    """Runs that are finished already and cost nothing more."""
    disk: int
    free_disk: int
    memory: int
    """Bytes of one process, of the largest cell."""
    memory_unknown: bool
    """True if some cells are not counted in `memory`: their model is not on this machine."""
    available: int | None
    """Bytes of memory that processes can still have; None where the system does not say."""

    def lines(self) -> list[str]:
        """The estimate as a person reads it."""
        return [*self._time(), self._disk(), self._memory()]

    def problem(self) -> str:
        """The reason why this machine cannot hold the runs: memory for those at once, disk for all; empty if it can."""
        needed = self.memory * self.jobs
        if self.available is not None and needed > FULL * self.available:
            fit = int(FULL * self.available // self.memory)
            advice = f"--jobs {fit} would fit" if fit else "not even one fits"
            return (
                f"{counted(self.jobs, 'run')} at once need {gigabytes(needed)} of memory, and"
                f" {gigabytes(self.available)} are available: {advice}"
            )
        if self.disk > self.free_disk:
            return f"the runs need {gigabytes(self.disk)} on disk, and {gigabytes(self.free_disk)} are free"
        return ""

    def refuse_if_too_large(self) -> None:
        """Raises ConfigError if this machine cannot hold the runs."""
        if reason := self.problem():
            raise ConfigError(reason)

    def _time(self) -> Iterator[str]:
        shares = ", ".join(f"{counted(count, 'run')} {_HOW[how]}" for how, count in self.runs.items() if count)
        total = sum(self.seconds.values())
        if not shares:
            yield "time      nothing left to run"
        elif not total:
            yield f"time      {shares}"
        else:
            bound = "" if set(self.seconds) <= {"measured"} and not self.runs.get("unknown") else "at least "
            least = max(total / self.jobs, *self.by_run.values())
            beside = f", {hours(least)} with --jobs {self.jobs}" if self.jobs > 1 else ""
            yield f"time      {bound}{hours(total)} of one process{beside}: {shares}"

    def _disk(self) -> str:
        free = f"{gigabytes(self.free_disk)} free"
        return f"disk      about {gigabytes(self.disk)} if every reply takes all its tokens; {free}"

    def _memory(self) -> str:
        least = "at least" if self.memory_unknown else "about"
        there = "" if self.available is None else f"; {gigabytes(self.available)} available"
        times = f" x {self.jobs} jobs = {gigabytes(self.memory * self.jobs)}" if self.jobs > 1 else ""
        return f"memory    {least} {gigabytes(self.memory)} of the largest run{times}{there}"


_HOW: Mapping[How, str] = {
    "measured": "by the pace of finished runs here",
    "floor": "by a floor (products of matrices at this machine's speed)",
    "unknown": "of unknown time",
}


def cost_of(checked: Checked, folder: Path, jobs: int = 1) -> Cost:
    """The cost of a study's runs that are not finished in `folder`, at most `jobs` at once.

    A run is as fast as the median of finished runs in the folder with equal workflow, task, model, lengths and threads;
    where there is none, its time is a floor.
    """
    paces, finished = _paces(folder)
    by_run: dict[str, float] = {}
    seconds: dict[How, float] = {}
    runs: dict[How, int] = {}
    disk, left = 0, [cell for cell in checked.study.cells if cell.name not in finished]
    for cell in left:
        plan = checked.plans[cell.group]
        how, taken = _time_of(plan, paces)
        runs[how] = runs.get(how, 0) + 1
        disk += plan.disk
        if how != "unknown":
            seconds[how] = seconds.get(how, 0.0) + taken
            by_run[cell.name] = taken
    plans = [checked.plans[cell.group] for cell in left]
    evaluations = sum(not result_of(one, folder).is_file() for one in checked.study.measures)
    return Cost(
        jobs=max(1, min(jobs, len(left) + evaluations)),
        by_run=by_run,
        seconds=seconds,
        runs=runs,
        finished=len(checked.study.cells) - len(left),
        disk=disk,
        free_disk=_free_disk(folder),
        memory=_LIBRARIES + max((_host_memory(plan) for plan in plans), default=0),
        memory_unknown=any(plan.memory is None for plan in plans),
        available=available_memory(),
    )


def available_memory() -> int | None:
    """Bytes that processes can still have without swapping, as Linux says; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    return next((int(parts[1]) * 1024 for parts in found), None)


def gigabytes(count: float) -> str:
    """Bytes in GiB, or in MiB if they are few."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 2 else f"{count / 2**20:.0f} MiB"


def hours(seconds: float) -> str:
    """Seconds as a person says them: `40 s`, `12 min`, `5.5 h`, `12 days`."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h" if seconds < 3600 * 72 else f"{seconds / 86400:.0f} days"


def _host_memory(plan: CellPlan) -> int:
    """Bytes of the machine's memory; what is on a GPU does not count."""
    return plan.memory if plan.memory is not None and plan.config.model.device == "cpu" else 0


def _time_of(plan: CellPlan, paces: Mapping[str, list[Pace]]) -> tuple[How, float]:
    known = paces.get(_kind(plan.config), [])
    if known:
        how: How = "measured"
        pace = Pace(median(one.step for one in known), median(one.evaluation for one in known))
    elif plan.step_seconds is not None and plan.evaluation_seconds is not None:
        how, pace = "floor", Pace(plan.step_seconds, plan.evaluation_seconds)
    else:
        return "unknown", 0.0
    evaluations = plan.evaluations + plan.finally_evaluated / max(1, plan.evaluated)
    return how, _START + plan.steps * pace.step + evaluations * pace.evaluation


def _kind(config: Config) -> str:
    """Equal for recipes whose steps take about as long."""
    parts = (config.workflow, config.task, config.model, config.rollout, config.evaluation)
    return " ".join([*(part.model_dump_json() for part in parts), str(config.run.threads)])


def _paces(folder: Path) -> tuple[dict[str, list[Pace]], set[str]]:
    """Kind of recipe -> the paces of finished runs of that kind; and the names of all finished runs."""
    paces: dict[str, list[Pace]] = {}
    finished = set()
    for path in sorted(folder.glob("*/summary.json")):
        try:
            run = Run.read(path.parent)
            pace = _pace(run)
        except (CounterpointError, OSError, ValueError, KeyError):  # what is wrong with it is told by its state
            continue
        finished.add(path.parent.name)
        if pace is not None:
            paces.setdefault(_kind(run.config), []).append(pace)
    return paces, finished


def _pace(run: Run) -> Pace | None:
    """The medians of a run. An evaluation takes as long, per episode, as the episodes of a training step."""
    rows = run.metric_rows()
    if not rows:
        return None
    rollout = run.config.rollout
    evaluated = [row for row in run.evaluation_rows() if row["step"] == 0]
    episodes = sum(len(values) for row in evaluated for values in row["outcomes"].values())
    act = median(row["time/act"] for row in rows) / (rollout.tasks_per_step * rollout.group_size)
    return Pace(step=median(row["time/step"] for row in rows), evaluation=act * episodes)


def _free_disk(folder: Path) -> int:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
