"""Dr. GRPO: GRPO without its two biases."""

from typing import Any


def dr_grpo() -> dict[str, Any]:
    """GRPO done right (arXiv 2503.20783).

    For: replies whose length must not be rewarded or punished by the estimator. The advantage is not divided by the
    standard deviation, which favours tasks that are nearly always or nearly never solved, and the loss of a call is
    divided by the longest length instead of its own, which favours long wrong replies. No KL.
    """
    return {
        "credit": "outcome",
        "advantage": "dr_grpo",
        "loss": {"name": "clip", "low": 0.2, "high": 0.2},
        "aggregation": "constant",
        "kl": "none",
        "updates": 1,
        "without_signal": "keep",
    }
