"""A judge that approves what is wrong."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._rejections import worth_of_rejections
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_steps, now, shown, window


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role in history.roles:
        rate = now(history, f"role/{role}/false_approval", limits)
        if rate is not None and rate >= limits.false_approval:
            evidence = (
                f"role/{role}/false_approval {rate:.2f}, threshold {limits.false_approval}",
                *worth_of_rejections(history, limits, role, at_first=True),
                *shown(history, limits, role, {"form_stamp": "short verdicts without code"}),
            )
            findings.append(
                Finding(signature="rubber stamp", where=role, steps=window(history, limits), evidence=evidence)
            )
    return findings


RUBBER_STAMP = Signature(
    name="rubber stamp",
    find=find,
    meaning="The role approves at least half of the wrong answers that it judges: its verdicts filter out few errors.",
    advice=(
        'Credit it for its own verdicts (algorithm.credit = "own" or "mix"), compute advantages'
        ' within the role (algorithm.advantage = "role"), or give it a policy of its own.'
    ),
    lacks=lacks_steps,
)
