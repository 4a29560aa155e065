"""GRPO, the reference that every other algorithm here is compared with."""

from typing import Any


def grpo() -> dict[str, Any]:
    """Group relative policy optimization as published (DeepSeekMath, arXiv 2402.03300).

    For: a baseline that readers know. The reward of an episode goes to all of its calls, compared with the other
    episodes of the task and divided by their standard deviation; PPO's symmetric clip; the mean over calls of the mean
    over tokens, with tasks that compare nothing in the denominator; KL to the base k3 with weight 0.04; one update per
    step.

    Not in the paper: the width of the clip, for which PPO's 0.2 stands. Where every update is the first of its step,
    the ratio is 1 and the clip does nothing.
    """
    return {
        "credit": "outcome",
        "advantage": "grpo",
        "loss": {"name": "clip", "low": 0.2, "high": 0.2},
        "aggregation": "call",
        "kl": {"name": "k3", "weight": 0.04},
        "updates": 1,
        "without_signal": "keep",
    }
