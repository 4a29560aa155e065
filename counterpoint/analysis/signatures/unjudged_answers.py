"""Answers that the judge could not judge."""

from collections.abc import Mapping

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._latest import lacks_episodes, latest, rate_of_episodes
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds


def find(history: History, limits: Thresholds) -> list[Finding]:
    rates = [rate_of_episodes(record, unjudged) for record in latest(history, limits)]
    high = [rate for rate in rates if rate is not None and rate.value >= limits.unjudged]
    if not high:
        return []
    name = "episode/not_judged, without those of endpoints, as a fraction:"
    evidence = tuple(rate.evidence(name, limits.unjudged) for rate in high)
    steps = (high[0].record.steps[0], high[-1].record.steps[1])
    return [Finding(signature="unjudged answers", where="team", steps=steps, evidence=evidence)]


def unjudged(table: Mapping[str, float]) -> float:
    """The number of episodes whose answer could not be judged though an endpoint is not to blame."""
    return table.get("episode/not_judged", 0.0) - table.get("episode/errors/endpoint", 0.0)


UNJUDGED_ANSWERS = Signature(
    name="unjudged answers",
    find=find,
    meaning=(
        "At least one answer in twenty could not be judged. Such answers are in no mean and give no reward: every"
        " accuracy is that of the others."
    ),
    advice=(
        "Read the reasons (`counterpoint show RUN`), mend the judge where it raises, and give it more time"
        " (rollout.judge_timeout) where it is too slow."
    ),
    lacks=lacks_episodes,
)
