"""GSPO: GRPO whose ratio is that of the whole call."""

from typing import Any


def gspo() -> dict[str, Any]:
    """Group sequence policy optimization (arXiv 2507.18071).

    For: long replies and mixtures of experts, where the ratios of single tokens are noise. Ratio and clip are those of
    a whole call, hence the narrow clip, and every call weighs the same. Four updates per step. No KL.
    """
    return {
        "credit": "outcome",
        "advantage": "grpo",
        "loss": {"name": "gspo", "low": 3e-4, "high": 4e-4},
        "aggregation": "call",
        "kl": "none",
        "updates": 4,
        "without_signal": "keep",
    }
