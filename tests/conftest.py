"""What several files need."""

import asyncio

import pytest

from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.train import train


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Two steps of a shared policy on the shipped micro model, small enough for any test."""
    config = config_from(
        {
            "task": {"name": "arithmetic", "train": 64, "validation": 4, "test": 6},
            "policies": {"sharing": "shared", "learning_rate": 1e-3},
            "rollout": {"tasks_per_step": 4, "group_size": 4, "max_tokens": 48},
            "evaluation": {"every": 1},
            "run": {"steps": 2, "threads": 1},
        }
    )
    with Run.create(tmp_path_factory.mktemp("run") / "tiny", config, {}) as run:
        asyncio.run(train(run))
        yield run
