"""Right answers that are there and are not chosen."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_evaluations

EVALUATIONS = 3
"""Evaluations over which the gap is averaged, at the start and at the end."""


def find(history: History, limits: Thresholds) -> list[Finding]:
    choosers = [role for role, claims in history.claims.items() if "choice" in claims]
    team, oracle = (dict(zip(*history.evaluated(name), strict=True)) for name in ("accuracy", "episode/oracle"))
    evaluated = [step for step in team if step in oracle]
    gaps = [oracle[step] - team[step] for step in evaluated]
    if not choosers or len(gaps) <= EVALUATIONS:
        return []
    before, after = (sum(part) / len(part) for part in (gaps[:EVALUATIONS], gaps[-EVALUATIONS:]))
    if after < limits.selection_gap or after < before:
        return []
    evidence = (
        f"test: some answer right minus team right is {after:.3f} over the last {EVALUATIONS} evaluations, threshold"
        f" {limits.selection_gap}",
        f"it was {before:.3f} over the first {EVALUATIONS}: it does not shrink",
    )
    steps = (evaluated[-EVALUATIONS], evaluated[-1])
    return [Finding(signature="selection blindness", where=", ".join(choosers), steps=steps, evidence=evidence)]


SELECTION_BLINDNESS = Signature(
    name="selection blindness",
    find=find,
    meaning="Some candidate is right much more often than the chosen one, and training does not change that.",
    advice=(
        'Credit the choosing role for its own choices (algorithm.credit = "own"), check that it chooses better'
        " than at random (role/<role>/selection against one over the number of candidates), or compare with the"
        " workflow `majority`."
    ),
    lacks=lacks_evaluations(EVALUATIONS + 1),
)
