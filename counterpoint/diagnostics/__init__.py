"""Read-only looks at a step."""

from counterpoint.diagnostics.base import Diagnostic
from counterpoint.family import Family

DIAGNOSTICS: Family[Diagnostic] = Family(
    "diagnostic",
    {
        "behaviour": "counterpoint.diagnostics.behaviour:Behaviour",
        "role_gradients": "counterpoint.diagnostics.role_gradients:RoleGradients",
        "persistence": "counterpoint.diagnostics.persistence:Persistence",
        "distance": "counterpoint.diagnostics.distance:Distance",
    },
    takes=Diagnostic,
)
