"""The sampler `vllm` with vLLM, on a CPU: `scripts/test vllm` runs this file where vLLM is installed."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from ray_runs import RAY, ended, family, gone, resume, steps, told, train, until

from counterpoint.run import Run
from counterpoint.samplers._segments import OWNER, mapped_by, started_with
from counterpoint.testing.sampler_conformance import SAMPLER_CHECKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed here: `make .venv-vllm/ready` first"),
]
HERE = Path(__file__).parent
TMPFS = Path("/dev/shm")
RECIPE = [
    "voting_arithmetic", "sampler.name=vllm", "sampler.cache_gb=0.5", "sampler.max_rows=32", "run.steps=4",
    "run.save_every=2", "run.threads=1", "rollout.tasks_per_step=4", "rollout.group_size=4", "rollout.max_tokens=64",
    "task.train=64", "task.validation=4", "task.test=6", "evaluation.every=2", "policies.learning_rate=1e-3",
]  # fmt: skip
STALE = {
    "an identifier used again": (False, False),
    "loaded in place": (True, False),
    "a new identifier with an old name": (True, False),
    "everything new": (True, True),
}
"""Way to publish a second version -> what the slots say, and what the log-probabilities say."""


def seen_of(which):
    command = [sys.executable, str(HERE / "on_vllm.py"), which]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"name"'):
            one = json.loads(line)
            found.setdefault(one["name"], []).append(one["value"])
    return found


@pytest.fixture(scope="module")
def seen():
    """All that one engine showed."""
    return seen_of("lives")


def test_it_keeps_every_promise_of_a_sampler(seen):
    assert {check.__name__ for check in SAMPLER_CHECKS} <= set(seen)


def test_calls_under_way_end_on_the_weights_on_which_they_began(seen):
    assert seen["calls under way after publishing"][0] > 0
    assert seen["versions of calls under way"] == [[1]]
    assert seen["calls under way off the old weights"][0] < 1e-4
    assert seen["calls under way off the new weights"][0] > 0.1
    assert seen["a call after publishing off the new weights"][0] < 1e-4


def test_a_policy_without_an_adapter_speaks_as_its_base(seen):
    assert seen["a policy without adapter off its base"][0] < 1e-4


@pytest.mark.parametrize("way", STALE)
def test_old_weights_are_caught(seen, way):
    slots, logprobs = STALE[way]
    assert seen[f"{way}: slots"] == [slots]
    assert seen[f"{way}: log-probabilities"] == [logprobs]


def test_closing_leaves_nothing(seen):
    assert seen["processes"][0] > 0
    assert seen["processes after closing"] == [0]
    assert seen["folders after closing"] == [[]]


def test_an_engine_that_is_killed_is_an_engine_error_for_every_call():
    found = seen_of("dies")
    assert len(found["death"]) == 2
    assert all(one.startswith("vLLM died: ") for one in found["death"])
    assert found["processes after closing"] == [0]


def training(*words):
    """A training run in a process group of its own, as a terminal starts it."""
    command = [sys.executable, "-m", "counterpoint", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=HERE.parent, start_new_session=True
    )


def trained(*words):
    process = training(*words)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said[-4000:]
    return process.pid


def engine_of(driver):
    """The processes of the engine that a process started, which have not ended."""
    return started_with(f"{OWNER}={driver}")


def shared():
    """The segments and semaphores of all processes of this machine."""
    return {path for path in TMPFS.iterdir() if path.name.startswith(("psm_", "sem."))}


def folders_of(driver):
    return [*TMPFS.glob(f"counterpoint-adapters-{driver}-*")]


@pytest.mark.parametrize("sharing", ["shared", "isolated"])
def test_a_run_that_is_killed_leaves_no_process_and_resumes_as_the_unbroken_one(tmp_path, sharing):
    recipe = [*RECIPE, f"policies.sharing={sharing}"]
    others = shared()
    driver = trained("train", *recipe, "--out", str(tmp_path / "whole"))
    assert not engine_of(driver)
    assert not folders_of(driver)
    with training("train", *recipe, "--out", str(tmp_path / "killed")) as process:
        for line in process.stdout:
            if line.startswith("step 3/4"):
                break
        engine = engine_of(process.pid)
        assert engine
        assert set.union(*map(mapped_by, engine)) - others
        assert folders_of(process.pid)
        process.kill()
    time.sleep(5)
    assert not engine_of(process.pid)
    assert not shared() - others
    driver = trained("resume", str(tmp_path / "killed"))
    assert not folders_of(process.pid), "the next run removes the folder of one that was killed"
    assert not folders_of(driver)
    assert not shared() - others
    whole, killed = Run.read(tmp_path / "whole"), Run.read(tmp_path / "killed")
    assert killed.checkpoint_state(4)["digests"] == whole.checkpoint_state(4)["digests"]
    mismatches = [value for row in whole.metric_rows() for name, value in row.items() if name.endswith("/mismatch")]
    assert len(mismatches) >= 4
    assert max(mismatches) < 1e-4


@pytest.mark.parametrize("sharing", ["shared", "isolated"])
def test_ten_steps_with_two_ranks_on_ray_killed_and_resumed_twice_are_the_unbroken_ones(tmp_path, sharing):
    pytest.importorskip("ray")
    recipe = [
        *RECIPE[1:],
        "model.path=micro-medium",
        "run.steps=10",
        "run.save_every=1",
        "evaluation.every=10",
        f"policies.sharing={sharing}",
        *RAY,
    ]
    whole, broken, others = tmp_path / "whole", tmp_path / "broken", shared()
    assert ended(train(whole, *recipe), whole) == 0, told(whole)
    assert not shared() - others
    process, there = train(broken, *recipe), {}
    for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)):
        before = steps(broken)
        until(lambda before=before: steps(broken) >= before + 3, process)
        there |= family(process.pid)
        os.kill(process.pid, number)
        assert ended(process, broken) == status, told(broken)
        process = resume(broken)
    assert any("EngineCore" in line for line in there.values())
    assert ended(process, broken) == 0, told(broken)
    gone(there)
    assert not shared() - others
    assert not [*TMPFS.glob("counterpoint-adapters-*")]
    one, other = Run.read(whole), Run.read(broken)
    assert one.checkpoint_state(10)["digests"] == other.checkpoint_state(10)["digests"]
    mismatches = [value for row in other.metric_rows() for name, value in row.items() if name.endswith("/mismatch")]
    assert len(mismatches) >= 10
    assert max(mismatches) < 1e-4


def test_an_interrupt_from_the_terminal_ends_the_run_and_does_not_kill_the_engine_first(tmp_path):
    with training("train", *RECIPE, "run.steps=9", "run.save_every=9", "--out", str(tmp_path / "run")) as process:
        for line in process.stdout:
            if line.startswith("step 3/9"):
                break
        os.killpg(process.pid, signal.SIGINT)  # which reaches the engine's processes too
        said = process.stdout.read()
    assert process.returncode == 128 + signal.SIGINT
    assert "is saved; to continue: counterpoint resume" in said
    assert "Traceback" not in said
    assert not engine_of(process.pid)
    assert not folders_of(process.pid)
