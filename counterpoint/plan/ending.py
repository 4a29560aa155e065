"""The evaluations at the end of training, counted before it begins."""

from counterpoint.analysis.milestones import LAST
from counterpoint.config import Config
from counterpoint.errors import counted


def lines_about_the_end(config: Config, tasks: int, calls: int) -> list[str]:
    """The checkpoints that are evaluated again, base, peak and the last three at most; no line if none is.

    `tasks` is the number of test tasks, `calls` that of the calls of an episode.
    """
    samples, every, steps = config.evaluation.final_samples, config.evaluation.every, config.run.steps
    if not samples:
        return []
    evaluations = 2 + (steps - 1) // every
    count = min(2 + LAST, evaluations)
    return [
        f"at the end  at most {counted(count, 'checkpoint')} x {counted(tasks, 'test task')}"
        f" x {counted(samples, 'episode')} x {counted(calls, 'call')} ="
        f" {counted(count * tasks * samples * calls, 'call')}"
    ]
