"""Learning, tested by learning: ten steps of a shipped recipe must make the team better on held-out problems.

Voting with a shared policy learns in tests/test_ahead.py, from the step before, where as much is asked of it.
"""

import asyncio

import pytest

from counterpoint.recipe import load_config
from counterpoint.run import Run
from counterpoint.training import train

BASES = {
    "voting_arithmetic": (0.25, 0.60),
    "evaluator_optimizer_arithmetic": (0.70, 0.90),
    "orchestrator_workers_arithmetic": (0.15, 0.40),
    "orchestrator_workers_synthesis": (0.10, 0.35),
}
"""Recipe -> between what the base as a team must be."""
GAINS = {
    "voting_arithmetic": 0.10,
    "evaluator_optimizer_arithmetic": 0.02,
    "orchestrator_workers_arithmetic": 0.15,
    "orchestrator_workers_synthesis": 0.10,
}
ROLES = {
    "voting_arithmetic": ("generator", "aggregator"),
    "evaluator_optimizer_arithmetic": ("generator",),
    "orchestrator_workers_arithmetic": ("orchestrator", "worker", "synthesizer"),
    "orchestrator_workers_synthesis": ("worker", "synthesizer"),
}
"""Recipe -> the roles that must be better by 5 points."""
LESS = ["run.threads=1", "rollout.tasks_per_step=8", "run.steps=10", "evaluation.every=10", "task.validation=32"]
"""Learning shows as well with half of the tasks of a step."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "sharing"),
    [
        ("voting_arithmetic", "isolated"),
        ("evaluator_optimizer_arithmetic", "isolated"),
        ("orchestrator_workers_arithmetic", "shared"),
        ("orchestrator_workers_synthesis", "isolated"),
    ],
)
def test_a_team_of_micro_models_gets_better(tmp_path, recipe, sharing):
    config = load_config(recipe, [f"policies.sharing={sharing}", *LESS])
    with Run.create(tmp_path / "run", config, {}) as run:
        asyncio.run(train(run))
        test = {row["step"]: row for row in run.evaluation_rows() if row["split"] == "test"}
        metrics = run.metric_rows()
    low, high = BASES[recipe]
    assert low < test[0]["accuracy"] < high
    assert test[10]["accuracy"] - test[0]["accuracy"] > GAINS[recipe]
    for role in ROLES[recipe]:
        metric = f"role/{role}/accuracy"
        assert test[10]["numbers"][metric] - test[0]["numbers"][metric] > 0.05, role
    assert all(value < 1e-4 for row in metrics for name, value in row.items() if name.endswith("/mismatch"))
