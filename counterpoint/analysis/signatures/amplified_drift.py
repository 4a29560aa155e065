"""Parallel calls of a role whose gradients add up, in the same direction step after step, before accuracy falls."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_evaluations
from counterpoint.analysis.summary import CLIFF_DROP


def find(history: History, limits: Thresholds) -> list[Finding]:
    found = history.summary()
    fall = None if found is None else found.fall
    if found is None or fall is None or fall.value < CLIFF_DROP or fall.low <= 0.0:
        return []
    test = history.evaluated("accuracy").between(found.peak_step, history.last)
    fell = [step for step, accuracy in zip(*test, strict=True) if accuracy < found.team.peak.low]
    end = fell[0] if fell else found.peak_step
    span = (max(end - limits.window, 0) + 1, end)
    findings = []
    for policy in history.policies:
        for role in history.roles_of(policy):
            name = f"gradient/{policy}/{role}"
            coherence = history.series(f"{name}/coherence").between(*span).mean()
            amplification = history.series(f"{name}/amplification").between(*span).mean()
            persistence = history.series(f"{name}/persistence").between(*span).mean()
            if coherence is None or amplification is None or persistence is None:
                continue
            if coherence >= limits.coherence and persistence >= limits.persistence:
                evidence = (
                    f"{name}/amplification {amplification:.2f}, threshold {limits.coherence} x the number of slots"
                    f" (coherence {coherence:.2f})",
                    f"{name}/persistence {persistence:.2f}, threshold {limits.persistence}",
                    f"test accuracy fell {fall.value:.3f} from the peak at step {found.peak_step}",
                )
                where = f"{role} on {policy}"
                findings.append(Finding(signature="amplified drift", where=where, steps=span, evidence=evidence))
    return findings


AMPLIFIED_DRIFT = Signature(
    name="amplified drift",
    find=find,
    meaning=(
        "The gradients of a role's parallel calls on the same prompt nearly all point in the same direction, so that"
        " their sum is almost the number of calls times one call's gradient, and that direction does not change from"
        " step to step: the study's same-role amplification."
    ),
    advice=(
        "Divide the role's part of the step by its amplification over chance (the intervention `limit_amplification`;"
        " a plain lower learning rate is the control), use one policy per"
        ' slot (policies.sharing = "slots"), or make fewer parallel calls.'
    ),
    lacks=lacks_evaluations(2),
)
