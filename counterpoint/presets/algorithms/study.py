"""The settings of the study that this project grew from."""

from typing import Any


def study() -> dict[str, Any]:
    """The settings of "When Does Multi-Agent RL Improve LLM Workflows?" (arXiv 2605.24202), as one algorithm.

    For: results beside those of the study. The reward of the episode for every call; groups by task and name; clip 0.2
    and 0.28 with dual bound 3; the mean over calls; an optimizer step for every 512 calls of a policy, so that roles
    that are called more take more steps; groups without signal stay in the denominators; no KL. In voting on
    mathematics a name has its slot, hence `role_slot`. In the study's other workflows, and in voting on code, names are
    roles: `algorithm.advantage=role`. Its warm-up belongs to [policies] (`warmup_from_zero`, `warmup_clock`): the
    recipes of the study have it. The differences are listed in `recipes/study_parity`.
    """
    return {
        "credit": "outcome",
        "advantage": "role_slot",
        "loss": {"name": "clip", "low": 0.2, "high": 0.28, "dual": 3.0},
        "aggregation": "call",
        "kl": "none",
        "calls_per_update": 512,
        "without_signal": "keep",
    }
