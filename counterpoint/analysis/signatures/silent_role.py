"""A role that has never been called."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._latest import everything, lacks_episodes
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds


def find(history: History, limits: Thresholds) -> list[Finding]:
    records = everything(history)
    episodes = sum(record.played for record in records)
    if episodes < limits.episodes:
        return []
    tables = [table for record in records for table in record.tables]
    findings = []
    for role in history.roles:
        calls = [table.get(f"role/{role}/calls") for table in tables]
        if all(count == 0.0 for count in calls):
            evidence = (f"role/{role}/calls is 0 in all {episodes:.0f} episodes, evaluations included",)
            findings.append(Finding(signature="silent role", where=role, steps=(0, history.last), evidence=evidence))
    return findings


SILENT_ROLE = Signature(
    name="silent role",
    find=find,
    meaning=(
        "The role has not been called in any episode so far, so it learns nothing. A role that falls silent later, such"
        " as one that breaks ties once nobody disagrees, does not have this sign."
    ),
    advice=(
        "Check the condition under which the workflow calls it: `check_workflow` looks for replies that lead to it. If"
        " the condition is only rare, more or other tasks meet it."
    ),
    lacks=lacks_episodes,
)
