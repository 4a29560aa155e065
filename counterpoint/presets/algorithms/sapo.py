"""SAPO: a soft gate in place of the clip."""

from typing import Any


def sapo() -> dict[str, Any]:
    """Soft adaptive policy optimization (arXiv 2511.20347).

    For: several updates per step without the edge of a clip, behind which a token has no gradient at all. The gate is
    steeper for negative advantages, which spread over the whole vocabulary. Every call weighs the same. Four updates
    per step. No KL.
    """
    return {
        "credit": "outcome",
        "advantage": "grpo",
        "loss": {"name": "sapo", "positive": 1.0, "negative": 1.05},
        "aggregation": "call",
        "kl": "none",
        "updates": 4,
        "without_signal": "keep",
    }
