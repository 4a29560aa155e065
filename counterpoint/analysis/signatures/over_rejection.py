"""A judge that rejects what is right."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._rejections import worth_of_rejections
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_steps, now, window


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role in history.roles:
        rate = now(history, f"role/{role}/false_rejection", limits)
        if rate is not None and rate >= limits.false_rejection:
            evidence = (
                f"role/{role}/false_rejection {rate:.2f}, threshold {limits.false_rejection}",
                *worth_of_rejections(history, limits, role, at_first=False),
            )
            findings.append(
                Finding(signature="over-rejection", where=role, steps=window(history, limits), evidence=evidence)
            )
    return findings


OVER_REJECTION = Signature(
    name="over-rejection",
    find=find,
    meaning="The role rejects at least half of the right answers that it judges: they are rewritten, some wrongly.",
    advice=(
        "See what its rejections were worth. If it is credited for its own verdicts while most answers are wrong,"
        ' rejecting all of them pays: credit it for the team\'s result too (algorithm.credit = "mix"), or allow fewer'
        " rounds."
    ),
    lacks=lacks_steps,
)
