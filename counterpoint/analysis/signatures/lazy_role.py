"""Roles after the first answer that change nothing."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_steps, now, window


def find(history: History, limits: Thresholds) -> list[Finding]:
    helped, hurt = (now(history, f"episode/{name}", limits) for name in ("helped", "hurt"))
    team, oracle = (now(history, f"episode/{name}", limits) for name in ("score", "oracle"))
    answering = [role for role, claims in history.claims.items() if claims & {"answer", "choice", "verdict"}]
    if len(answering) < 2 or helped is None or hurt is None or team is None or oracle is None:
        return []
    if oracle - team < limits.missed or helped + hurt >= limits.idle:
        return []
    evidence = (
        f"episode/helped {helped:.3f} + episode/hurt {hurt:.3f}, threshold {limits.idle}",
        f"episode/oracle {oracle:.3f} - episode/score {team:.3f}, threshold {limits.missed}: there was room",
    )
    return [Finding(signature="lazy role", where="team", steps=window(history, limits), evidence=evidence)]


LAZY_ROLE = Signature(
    name="lazy role",
    find=find,
    meaning="The roles after the first answer never change whether the team is right: they could be left out.",
    advice=(
        "Compare with each role alone on the same number of tokens (`counterpoint evaluate RUN --solo`), and with the"
        " base model in the role's place (`--ablate ROLE`). If nothing is lost, a single agent is the cheaper workflow;"
        ' otherwise credit the role for what it changes (algorithm.credit = "help_hurt").'
    ),
    lacks=lacks_steps,
)
