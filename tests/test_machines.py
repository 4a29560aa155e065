"""A run on a Ray of two machines, which are two Rays on this one: its token, and a machine that falls silent."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from ray_runs import RAY, ended, family, left, resume, steps, told, train, until

RAY_PROGRAM = str(Path(sys.executable).parent / "ray")
MACHINE = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    # A machine that is silent counts as gone after some seconds instead of a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}


@pytest.fixture
def short():
    """A folder whose name leaves room for those of sockets in it."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture
def machine(tmp_path):
    """A function that starts a Ray with arguments of `ray start`; what it started is gone in the end."""
    started = []

    def start(*words):
        with (tmp_path / "machines").open("ab") as said:
            command = [RAY_PROGRAM, "start", "--block", "--node-ip-address=127.0.0.1", *words]
            started.append(
                subprocess.Popen(
                    command, stdout=said, stderr=said, env={**os.environ, **MACHINE}, start_new_session=True
                )
            )
        return started[-1]

    yield start
    for process in started:
        for pid, _ in family(process.pid):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_machine_that_falls_silent_ends_the_run_which_goes_on_without_it(short, machine, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    port = address.partition(":")[2]
    machine("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", f"--temp-dir={short}")
    until(lambda: answers(port))
    second = machine(f"--address={address}", "--num-cpus=2")
    run, where = tmp_path / "run", f"runtime.address={address}"

    assert ended(train(tmp_path / "outside", *RAY, where), tmp_path / "outside") == 2
    assert "it asks for a token; export RAY_AUTH_MODE=token" in told(tmp_path / "outside")

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, MACHINE[name])
    process = train(run, *RAY, where)
    until(lambda: steps(run) >= 2, process)
    there = family(second.pid)
    assert any("Body" in line for line in there.values())
    for pid, _ in there:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert ended(process, run) == 2, told(run)
    assert time.monotonic() - began < 60
    assert "is gone" in told(run)
    assert "Traceback" not in told(run)
    assert left(there)  # it was this machine that gave up on the other
    assert ended(resume(run, "runtime={name='local'}"), run) == 0, told(run)
    assert steps(run) >= 8


def answers(port):
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
        return True
    return False
