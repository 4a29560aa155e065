"""RLOO: REINFORCE with the mean of the other episodes as baseline."""

from typing import Any


def rloo() -> dict[str, Any]:
    """REINFORCE leave-one-out (arXiv 2402.14740).

    For: the simplest unbiased estimator, without ratio, clip or standard deviation; one update per step. The paper's
    loss is a sum over the tokens of a reply; `constant` is that sum divided by the longest length, which is the same up
    to the learning rate. Not expressed: the paper takes a KL off the reward of a whole reply, with a weight of its own
    per data set. `algorithm.kl={name="k1", weight=...}` is near, but holds each token to its own term.
    """
    return {
        "credit": "outcome",
        "advantage": "rloo",
        "loss": "reinforce",
        "aggregation": "constant",
        "kl": "none",
        "updates": 1,
        "without_signal": "keep",
    }
