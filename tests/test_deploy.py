"""The files that deploy a cluster: the SLURM script with two Rays on this machine, the others by what they name."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from ray_runs import SMALL, family, gone, steps, until

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "deploy" / "slurm.sh"
SRUN = """#!/usr/bin/env bash
# Runs the command here, as the machine that is named; each ray of a machine has one processor.
while [[ ${1-} == --* ]]; do case $1 in --nodelist=*) machine=${1#*=} ;; esac; shift; done
echo "$machine: $*" >> "$QUEUE"
if [[ $1 == ray ]]; then set -- "$@" --num-cpus=2 --num-gpus=0 --node-ip-address=127.0.0.1; fi
exec "$@"
"""


def program(path, text):
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def end(port):
    """No process of the Ray at this port is left: SLURM sees to it, where here its dashboard outlives it."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(word.endswith((f":{port}", f"={port}")) for word in words):
                os.kill(int(place.name), signal.SIGKILL)


@pytest.mark.slow
def test_the_slurm_script_starts_ray_on_every_machine_trains_and_goes_on(tmp_path):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "scontrol", "#!/bin/sh\nprintf '127.0.0.1\\nlocalhost\\n'\n")
    program(tmp_path / "bin" / "srun", SRUN)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    where = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_NODELIST": "two",
        "RAY_PORT": str(port),
        "RAY_worker_niceness": "0",
        "QUEUE": str(tmp_path / "queue"),
        "RUN": str(tmp_path / "run"),
    }
    words = [str(SCRIPT), "voting_arithmetic", *SMALL, "runtime.name=ray", "runtime.learners=2"]
    with (tmp_path / "told").open("w") as told:
        job = subprocess.Popen(words, env=where, stdout=told, stderr=told, start_new_session=True)
    try:
        until(lambda: steps(tmp_path / "run") >= 2, job)
        there = family(job.pid)
        job.terminate()
        assert job.wait(120) == 143, (tmp_path / "told").read_text()
        # SLURM ends what a job leaves; here a dashboard and what reads the logs outlive their Ray.
        gone(
            {which: line for which, line in there.items() if re.search("counterpoint|Body|/raylet |/gcs_server ", line)}
        )
        again = subprocess.run(words, env=where, capture_output=True, text=True, timeout=240)
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        end(port)
        if job.poll() is None:
            job.kill()
    queue = (tmp_path / "queue").read_text(encoding="utf-8")
    assert len(re.findall("^127.0.0.1: ray start --block --head", queue, re.M)) == 2
    assert len(re.findall("^localhost: ray start --block --address=127.0.0.1", queue, re.M)) == 2
    assert len(re.findall("^127.0.0.1: counterpoint train", queue, re.M)) == 1
    assert len(re.findall("^127.0.0.1: counterpoint resume", queue, re.M)) == 1
    assert steps(tmp_path / "run") >= 8


WAITS = """#!/bin/sh
case "$*" in *python*) while [ "$(grep -c 'ray start' "$QUEUE")" != 2 ]; do sleep 0.02; done ;; esac
echo "${SRUN_CPUS_PER_TASK-none} $*" >> "$QUEUE"
"""
"""An srun that writes down what it is asked for; what waits for the Rays waits for them."""


@pytest.mark.parametrize(("cores", "asked"), [("32", "32"), (None, "none")])
def test_the_slurm_script_asks_for_the_cores_of_the_job_wherever_it_starts_something(tmp_path, cores, asked):
    program(tmp_path / "scontrol", "#!/bin/sh\nprintf 'one\\ntwo\\n'\n")
    program(tmp_path / "python", "#!/bin/sh\necho token\n")
    program(tmp_path / "srun", WAITS)
    where = {"PATH": f"{tmp_path}:/usr/bin:/bin", "QUEUE": str(tmp_path / "queue"), "RUN": str(tmp_path / "my run")}
    where |= {"SLURM_JOB_NODELIST": "two"} | ({} if cores is None else {"SLURM_CPUS_PER_TASK": cores})
    subprocess.run([str(SCRIPT), "voting_arithmetic"], env=where, check=True, timeout=60)
    started = (tmp_path / "queue").read_text(encoding="utf-8")
    assert len(re.findall(rf"^{asked} --overlap ", started, re.M)) == 4, started
    assert started.endswith(f" --out {tmp_path / 'my run'}\n")


def test_the_file_for_ray_up_is_one_that_ray_accepts(tmp_path):
    check = """
import sys, yaml
from ray.autoscaler._private.util import prepare_config, validate_config
validate_config(prepare_config(yaml.safe_load(open(sys.argv[1], encoding="utf-8"))))
"""
    found = subprocess.run(
        [sys.executable, "-c", check, str(ROOT / "deploy" / "ray-cluster.yaml")], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({"cluster_name": "one", "machines": 3}))
    assert subprocess.run([sys.executable, "-c", check, str(wrong)], capture_output=True).returncode


def test_the_image_is_made_of_files_and_extras_that_there_are():
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.*) \S+$", text, re.M):
        for name in line.split():
            assert (ROOT / name).exists(), name
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.search(r"'\.\[(.*)\]'", text)[1].split(","):
        assert re.search(rf"^{extra} = \[", project, re.M), extra
