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
        "See first what its rejections were worth: where they seldom pay, the team's outcome teaches it to approve, and"
        " the role that answers again has to learn to. Where they pay, credit it for its own verdicts (algorithm.credit"
        ' = "own" or "mix" with algorithm.advantage = "role"), which can teach it to reject everything while most'
        " answers are wrong, or give it a policy of its own if it shares one."
    ),
    lacks=lacks_steps,
)
