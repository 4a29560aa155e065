"""REINFORCE++ with a baseline: GRPO with one standard deviation for the whole batch."""

from typing import Any


def reinforce_pp() -> dict[str, Any]:
    """REINFORCE++ in its variant with a baseline (arXiv 2501.03262).

    For: tasks whose groups have little spread, which a standard deviation per group would blow up. The mean of the
    task's episodes is subtracted, then the advantages of a policy's whole step are normalized together. They are
    normalized over calls here, over tokens in the paper; hence `call`, under which their weighted mean is 0. With
    `token` long failing replies would push all others down. Not in the paper: the weight of its KL, which is k2 here as
    there, with the 0.001 of its authors' scripts.
    """
    return {
        "credit": "outcome",
        "advantage": "reinforce_pp",
        "loss": {"name": "clip", "low": 0.2, "high": 0.2},
        "aggregation": "call",
        "kl": {"name": "k2", "weight": 0.001},
        "updates": 1,
        "without_signal": "keep",
    }
