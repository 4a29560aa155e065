"""Voters that all say the same, and less often the right thing."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import (
    Finding,
    Signature,
    Thresholds,
    fall_from_the_best,
    lacks_window,
    now,
    shown,
    window,
)


def find(history: History, limits: Thresholds) -> list[Finding]:
    oracle = history.series("episode/oracle")
    fall = fall_from_the_best(oracle, limits.window)
    findings = []
    for role in history.roles:
        agreement = now(history, f"role/{role}/agreement", limits)
        if agreement is not None and agreement >= limits.agreement and fall.counts(limits):
            evidence = (
                f"role/{role}/agreement {agreement:.2f}, threshold {limits.agreement}",
                f"episode/oracle fell {fall.amount:.3f} from its best, threshold {limits.decline}",
                *shown(history, limits, role, {"similarity": "of replies side by side, by words"}),
            )
            findings.append(
                Finding(signature="voter collapse", where=role, steps=window(history, limits), evidence=evidence)
            )
    return findings


VOTER_COLLAPSE = Signature(
    name="voter collapse",
    find=find,
    meaning="The parallel calls nearly always agree, and less often is one of them right: voting decides nothing.",
    advice=(
        'Give the voters policies of their own (sharing = "slots", or voters = "distinct"), raise the temperature, or'
        " hold the role near the base with a KL penalty (the intervention `anchor_roles`)."
    ),
    lacks=lacks_window,
)
