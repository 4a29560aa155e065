"""Rollouts: a workflow played over tasks, all at once, and judged. An episode that fails is recorded as failed."""

from counterpoint.play._rollout import rollout
from counterpoint.play.base import Limits, Stage, call_seed

__all__ = ["Limits", "Stage", "call_seed", "rollout"]
