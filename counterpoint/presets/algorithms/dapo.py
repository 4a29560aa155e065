"""DAPO: GRPO for long replies and several updates per step."""

from typing import Any


def dapo() -> dict[str, Any]:
    """Decoupled clip and dynamic sampling policy optimization (DAPO, arXiv 2503.14476).

    For: several updates per step without a loss of entropy. The upper clip is wider than the lower one, tasks without
    signal are replaced by others, every token weighs the same, replies that were cut off are left out of the loss, and
    there is no KL. 16 updates per step belong to the paper's 8,192 episodes per step: set `algorithm.updates` by yours.

    Not expressed: the paper resamples until the batch is full, here at most 10 times; its second measure against long
    replies, a penalty on their reward, is a reward per call, which cannot be compared over episodes. Where each episode
    is one call, `algorithm.advantage=role algorithm.overlong={name="soft", buffer=...}` is the same and adds it.
    """
    return {
        "credit": "outcome",
        "advantage": "grpo",
        "loss": {"name": "clip", "low": 0.2, "high": 0.28},
        "aggregation": "token",
        "kl": "none",
        "updates": 16,
        "without_signal": "drop",
        "resample": 10,
        "overlong": "mask",
    }
