"""What several files need."""

import asyncio
import json
import os
import shutil
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import browser as browser
from filelock import FileLock

import counterpoint
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.training import train

PACKAGE = Path(counterpoint.__file__).parent


def pytest_configure():
    """Interrupts work also where the tests were started in the background, by a shell that has them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _path_of_its_own(monkeypatch):
    """A workflow of one's own puts its folder on the path: not on that of the next test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


LONGEST = (
    "test_learning.py",
    "test_readme.py",
    "test_gym.py",
    "test_memory.py",
    "test_resume.py",
    "test_math_answers.py",
    "test_recipes.py",
    "test_serve.py",
    "test_smollm2.py",
    "test_shape.py",
    "test_controls.py",
    "test_cli.py",
)
"""Files that come first: the last of several processes would be alone with them in the end."""


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def pytest_addoption(parser):
    parser.addoption("--every-module", action="store_true", help="fail if a module of counterpoint is never imported")


def pytest_sessionfinish(session):
    """With `--every-module` a module that no test has imported is a failure; workers say what they have seen."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["modules"] = sorted(_imported())
    elif config.option.every_module and session.exitstatus == pytest.ExitCode.OK:
        config.stash[UNSEEN] = sorted(_modules() - WITHOUT_TRITON - _imported() - config.stash.get(SEEN, set()))
        if config.stash[UNSEEN]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    seen = getattr(node, "workeroutput", {}).get("modules", [])
    node.config.stash[SEEN] = node.config.stash.get(SEEN, set()) | set(seen)


def pytest_terminal_summary(terminalreporter, config):
    for name in config.stash.get(UNSEEN, []):
        terminalreporter.write_line(f"no test of this lane imports {name}", red=True)


SEEN, UNSEEN = pytest.StashKey[set[str]](), pytest.StashKey[list[str]]()
PROGRAMS = {"__main__", "worker"}
"""Files that are run in processes of their own, and imported by none."""
WITHOUT_TRITON = set() if find_spec("triton") else {"counterpoint.forwards._triton"}
"""Modules that cannot be imported where it is missing; tests/test_kernels.py says how to test them on a CPU."""


def _modules():
    files = [path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")]
    files = [file for file in files if file.name not in PROGRAMS]
    return {".".join(file.parts).removesuffix(".__init__") for file in files}


def _imported():
    return {name for name in sys.modules if name.partition(".")[0] == PACKAGE.name}


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
def shared_run(tmp_path_factory):
    """A function that trains a micro run once a session, whichever of several processes wants it first.

    The run is to be read only: a test that writes to it takes a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def run(name, **table):
        path = shared / "runs" / name
        with FileLock(shared / f"{name}.lock"):
            if (path / "summary.json").is_file():
                return Run.read(path)
            shutil.rmtree(path, ignore_errors=True)
            return micro_run(path, **table)

    return run


@pytest.fixture(scope="session")
def tiny_run(shared_run):
    """Voting."""
    return shared_run("voting")


@pytest.fixture(scope="session")
def refining_run(shared_run):
    """Drafts that are judged and refined, held near the base."""
    kl = {"kl": {"name": "k3", "weight": 0.01}}
    return shared_run("refining", workflow="evaluator_optimizer", algorithm=kl)


@pytest.fixture(scope="session")
def proposing_run(shared_run):
    """Strategies that are proposed and followed."""
    return shared_run("proposing", workflow="orchestrator_workers")


@pytest.fixture(scope="session")
def coding_run(shared_run):
    """Programs, judged in the sandbox, with a checkpoint after each step."""
    task = {"name": "synthesis", "train": 64, "validation": 4, "test": 6}
    run = {"steps": 2, "threads": 1, "save_every": 1}
    return shared_run("coding", task=task, model={"path": "micro-coder"}, run=run)


@pytest.fixture(scope="session")
def mathematics_run(shared_run, tmp_path_factory):
    """Sums from a file, judged as mathematics."""
    folder = tmp_path_factory.mktemp("run")
    rows = [{"problem": f"What is {a} + {b}?", "answer": str(a + b)} for a in range(1, 13) for b in range(1, 13)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "mathematics", "path": str(folder / "sums.jsonl"), "train": 64, "validation": 4, "test": 6}
    return shared_run("sums", task=task)
