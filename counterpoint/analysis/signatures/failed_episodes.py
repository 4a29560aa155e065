"""Episodes that ended with an error."""

from collections.abc import Iterator, Sequence

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._latest import Record, everything, lacks_episodes, latest
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds

BUGS = ("workflow", "task")
"""Kinds of errors of which one is enough: the user's code raised."""
LIMITS = ("overflow", "calls", "timeout", "endpoint", "judge")
"""Kinds of errors that have to be frequent."""


def find(history: History, limits: Thresholds) -> list[Finding]:
    seen = [*_failures(everything(history), BUGS, 0.0), *_failures(latest(history, limits), LIMITS, limits.failed)]
    if not seen:
        return []
    steps = (min(record.steps[0] for record, _ in seen), max(record.steps[1] for record, _ in seen))
    evidence = tuple(text for _, text in seen)
    return [Finding(signature="failed episodes", where="team", steps=steps, evidence=evidence)]


def _failures(records: Sequence[Record], kinds: Sequence[str], least: float) -> Iterator[tuple[Record, str]]:
    for record in records:
        for name in (f"episode/errors/{kind}" for kind in kinds):
            failed = sum(table.get(name, 0.0) for table in record.tables)
            if failed and failed >= least * record.played:
                yield record, f"{name}: {failed:.0f} of {record.played:.0f} episodes in {record.where}"


FAILED_EPISODES = Signature(
    name="failed episodes",
    find=find,
    meaning=(
        "The workflow or the task raised, or at least 1 % of the episodes had too long a prompt, made too many"
        " calls, took too long, or got no answer from an endpoint or a judge. A failed episode counts as wrong, or is"
        " left out."
    ),
    advice=(
        "Read the errors (`counterpoint show RUN --outcome failed`): they name file and line. Raise"
        " rollout.max_prompt_tokens for overflows, rollout.max_calls for calls and rollout.timeout for timeouts, and"
        " mend what raised."
    ),
    lacks=lacks_episodes,
)
