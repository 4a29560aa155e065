"""A role whose replies end where they may not be longer."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._latest import lacks_episodes, latest, rate_of_calls
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role in history.roles:
        rates = [rate_of_calls(record, role, "truncated") for record in latest(history, limits)]
        high = [rate for rate in rates if rate and rate.among >= limits.calls and rate.value >= limits.cut_off]
        if high:
            evidence = tuple(rate.evidence(f"role/{role}/truncated", limits.cut_off) for rate in high)
            steps = (high[0].record.steps[0], high[-1].record.steps[1])
            findings.append(Finding(signature="cut-off replies", where=role, steps=steps, evidence=evidence))
    return findings


CUT_OFF_REPLIES = Signature(
    name="cut-off replies",
    find=find,
    meaning=(
        "At least a quarter of the role's replies end at rollout.max_tokens, before the model was done: what stands at"
        " their end, such as the answer, is missing."
    ),
    advice=(
        "Raise rollout.max_tokens, ask for shorter replies in the prompt, or, for a model that reasons, limit or switch"
        " off its reasoning (model.thinking)."
    ),
    lacks=lacks_episodes,
)
