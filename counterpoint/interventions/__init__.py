"""Changes to a step."""

from counterpoint.family import Family
from counterpoint.interventions.base import Intervention

INTERVENTIONS: Family[Intervention] = Family(
    "intervention",
    {
        "anchor_roles": "counterpoint.interventions.anchor_roles:AnchorRoles",
        "damp_coherence": "counterpoint.interventions.damp_coherence:DampCoherence",
        "balance": "counterpoint.interventions.balance:Balance",
        "project_conflicts": "counterpoint.interventions.project_conflicts:ProjectConflicts",
        "limit_amplification": "counterpoint.interventions.limit_amplification:LimitAmplification",
        "equal_calls": "counterpoint.interventions.equal_calls:EqualCalls",
        "phases": "counterpoint.interventions.phases:Phases",
        "stop_at_cliff": "counterpoint.interventions.stop_at_cliff:StopAtCliff",
        "length_penalty": "counterpoint.interventions.length_penalty:LengthPenalty",
        "role_rates": "counterpoint.interventions.role_rates:RoleRates",
        "entropy_floor": "counterpoint.interventions.entropy_floor:EntropyFloor",
    },
    takes=Intervention,
)
