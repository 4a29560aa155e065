"""AT-GRPO: groups of one role, one turn and one prompt."""

from typing import Any


def at_grpo() -> dict[str, Any]:
    """Agent- and turn-wise GRPO (AT-GRPO, "Stronger Together", arXiv 2510.11062).

    For: groups that are valid in the strict sense: calls that answered the same prompt. A call's reward is the
    episode's plus its own, with equal weights. Loss as in the authors' code: clip with a dual bound, the mean over
    tokens, no KL.

    Not expressed: the tree. The paper draws several candidates at each call and goes on from the best one, so that
    every group has one prompt. Here episodes are independent: calls after the first turn mostly have a prompt of their
    own, are in a group of one, and carry no signal. `role/<role>/groups_without_signal` says how many.
    """
    return {
        "credit": {"name": "mix", "team": 1.0, "own": 1.0, "format": 0.0},
        "advantage": "prompt",
        "loss": {"name": "clip", "low": 0.2, "high": 0.2, "dual": 3.0},
        "aggregation": "token",
        "kl": "none",
        "updates": 1,
        "without_signal": "keep",
    }
