"""Runs Python where packages of others are: verifiers, datasets and openai 2, in `.venv-others`."""

import os
import subprocess
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PYTHON = REPOSITORY / ".venv-others" / "bin" / "python"


def with_others(*arguments: str, folder: Path, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess:
    """A Python process with these arguments in `folder`; its output is text."""
    if not PYTHON.exists():
        pytest.fail("the packages of others are not installed: `make .venv-others/ready` first")
    return subprocess.run(
        [str(PYTHON), "-W", "ignore", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=seconds,
        check=False,
    )


def said_by(program: str, folder: Path, **environment: str) -> list[str]:
    """The lines that a program prints there; whatever it raises fails the test."""
    done = with_others("-c", textwrap.dedent(program), folder=folder, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()
