"""A reward that has been the same in every episode so far."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._latest import everything, lacks_episodes
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds


def find(history: History, limits: Thresholds) -> list[Finding]:
    rewards = {row["episode/score"] for row in history.metrics if row.get("episode/score") is not None}
    rewards |= {row["accuracy"] for row in history.evaluations}
    episodes = sum(record.played for record in everything(history))
    if episodes < limits.episodes or rewards not in ({0.0}, {1.0}):
        return []
    evidence = (f"the reward was {rewards.pop():g} in each of {episodes:.0f} episodes, evaluations included",)
    return [Finding(signature="constant reward", where="team", steps=(0, history.last), evidence=evidence)]


CONSTANT_REWARD = Signature(
    name="constant reward",
    find=find,
    meaning="Every reward so far was 0, or every one was 1: nothing can be learned from a reward that never differs.",
    advice=(
        "If it is always 0, read some replies (`counterpoint show RUN`): an answer that is not read, or a judge that"
        " expects another form, looks like a wrong one; if the answers are really wrong, use easier tasks or a stronger"
        " model. If it is always 1, use harder tasks, and check that the judge can say no."
    ),
    lacks=lacks_episodes,
)
