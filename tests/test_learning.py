"""Learning, tested by learning: the shipped recipe, ten steps of it, must make the team better on held-out problems."""

import asyncio

import pytest

from counterpoint.recipe import load_config
from counterpoint.run import Run
from counterpoint.train import train


@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["isolated", "shared"])
def test_a_team_of_micro_models_gets_better(tmp_path, sharing):
    overrides = [f"policies.sharing={sharing}", "run.steps=10", "evaluation.every=10", "run.threads=2"]
    config = load_config("voting_arithmetic", [*overrides, "task.validation=32"])
    with Run.create(tmp_path / "run", config, {}) as run:
        asyncio.run(train(run))
        test = {row["step"]: row for row in run.evaluations() if row["split"] == "test"}
        metrics = run.metrics()
    assert 0.25 < test[0]["accuracy"] < 0.60
    assert test[10]["accuracy"] - test[0]["accuracy"] > 0.10
    for role in ("generator", "aggregator"):
        assert test[10]["numbers"][f"role/{role}/accuracy"] > test[0]["numbers"][f"role/{role}/accuracy"]
    assert all(value < 1e-4 for row in metrics for name, value in row.items() if name.endswith("/mismatch"))
