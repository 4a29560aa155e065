"""CISPO: the weight of a token is clipped, not its gradient."""

from typing import Any


def cispo() -> dict[str, Any]:
    """Clipped importance sampling policy optimization (MiniMax-M1, arXiv 2506.13585).

    For: many updates per step where rare tokens that turn a reasoning around must keep their gradient. The ratio is a
    weight, bounded above alone; every token weighs the same; tasks without signal are replaced, as in DAPO; no KL. 16
    updates per step belong to the paper's batches: set `algorithm.updates` by yours. Not in the paper: the bound of the
    ratio, here 5. Not expressed: its penalty on length, for the reason that `dapo` gives.
    """
    return {
        "credit": "outcome",
        "advantage": "grpo",
        "loss": {"name": "cispo", "ratio_max": 5.0},
        "aggregation": "token",
        "kl": "none",
        "updates": 16,
        "without_signal": "drop",
        "resample": 10,
    }
