"""What several files need."""

import asyncio
import json
import sys

import pytest

from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.training import train


@pytest.fixture(autouse=True)
def _path_of_its_own(monkeypatch):
    """A workflow of one's own puts its folder on the path: not on that of the next test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: the last of several processes would be alone with them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def micro_run(path, **table):
    """Two steps of a shared policy on the shipped micro model, small enough for any test."""
    config = config_from(
        {
            "task": {"name": "arithmetic", "train": 64, "validation": 4, "test": 6},
            "policies": {"sharing": "shared", "learning_rate": 1e-3},
            "rollout": {"tasks_per_step": 4, "group_size": 4, "max_tokens": 48},
            "evaluation": {"every": 1},
            "diagnostics": [
                "behaviour",
                {"name": "role_gradients", "every": 2},
                "persistence",
                {"name": "distance", "every": 2},
            ],
            "run": {"steps": 2, "threads": 1},
            **table,
        }
    )
    with Run.create(path, config, {}) as run:
        run.start_profile()
        asyncio.run(train(run))
    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Voting."""
    return micro_run(tmp_path_factory.mktemp("run") / "voting")


@pytest.fixture(scope="session")
def refining_run(tmp_path_factory):
    """Drafts that are judged and refined, held near the base."""
    kl = {"kl": {"name": "k3", "weight": 0.01}}
    return micro_run(tmp_path_factory.mktemp("run") / "refining", workflow="evaluator_optimizer", algorithm=kl)


@pytest.fixture(scope="session")
def proposing_run(tmp_path_factory):
    """Strategies that are proposed and followed."""
    return micro_run(tmp_path_factory.mktemp("run") / "proposing", workflow="orchestrator_workers")


@pytest.fixture(scope="session")
def coding_run(tmp_path_factory):
    """Programs, judged in the sandbox."""
    task = {"name": "synthesis", "train": 64, "validation": 4, "test": 6}
    return micro_run(tmp_path_factory.mktemp("run") / "coding", task=task, model={"path": "micro-coder"})


@pytest.fixture(scope="session")
def mathematics_run(tmp_path_factory):
    """Sums from a file, judged as mathematics."""
    folder = tmp_path_factory.mktemp("run")
    rows = [{"problem": f"What is {a} + {b}?", "answer": str(a + b)} for a in range(1, 13) for b in range(1, 13)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "mathematics", "path": str(folder / "sums.jsonl"), "train": 64, "validation": 4, "test": 6}
    return micro_run(folder / "sums", task=task)
