"""Dr. MAS: GRPO whose moments are those of each role."""

from typing import Any


def dr_mas() -> dict[str, Any]:
    """Advantages normalized per role (Dr. MAS, arXiv 2602.08847).

    For: workflows in which a role is called mostly on easy or mostly on hard tasks: under the moments of all episodes
    its gradient grows by (sd_r^2 + (mean_r - mean)^2) / sd^2, and with it the norm of the step. Mean and standard
    deviation are taken over the calls of the role on the task. Loss as in the authors' code: clip with a dual bound,
    the mean over tokens, one update per step, no KL. Not expressed: their penalty on unreadable actions, and copies
    that fill batches; a group of one has no signal here, and its raw reward as advantage there.
    """
    return {
        "credit": "outcome",
        "advantage": "role",
        "loss": {"name": "clip", "low": 0.2, "high": 0.2, "dual": 3.0},
        "aggregation": "token",
        "kl": "none",
        "updates": 1,
        "without_signal": "keep",
    }
