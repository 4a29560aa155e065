"""SPIRAL: a moving baseline for each role, and no groups."""

from typing import Any


def spiral() -> dict[str, Any]:
    """Role-conditioned advantage estimation (SPIRAL, arXiv 2506.24119).

    For: roles whose rewards differ in level, and steps with one episode per task (`rollout.group_size=1` is allowed).
    Each role's reward is compared with a moving average of that role's rewards. REINFORCE, one update per step, no KL;
    the sum over the tokens of a call, divided by the longest length.

    Not expressed: the zero-sum games against itself that the paper trains on. In a workflow that cooperates, a role's
    reward is that of its own claim (`own`), and a role that claims nothing is not trained. The paper uses its baseline
    after moving it, which makes advantages smaller by the factor 0.95.
    """
    return {
        "credit": "own",
        "advantage": {"name": "rae", "decay": 0.95},
        "loss": "reinforce",
        "aggregation": "constant",
        "kl": "none",
        "updates": 1,
    }
