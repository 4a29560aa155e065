"""The machine that everything is measured on: what it is, whether it has other work, how fast it multiplies."""

import os
import platform
import resource
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import torch

from benchmarks.base import Setting
from counterpoint.plan.speed import measured_rate

PACKAGES = ("counterpoint", "torch", "transformers", "peft", "numpy")
BUSY_FROM = 0.15
"""Cores at work for others from which figures are not to be trusted."""
_LOOK = 0.5
"""Seconds."""
_MATRIX = 8192


def facts() -> dict[str, Any]:
    """What it is, and what runs on it."""
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(),
    }
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def load() -> dict[str, float]:
    """The load average of the last minute, which our own work is part of, and the cores that others keep busy now."""
    before = _busy_seconds()
    began = perf_counter()
    sleep(_LOOK)
    return {
        "load_average": os.getloadavg()[0],
        "busy_cores": max(0.0, _busy_seconds() - before) / (perf_counter() - began),
    }


def peak_rate(setting: Setting) -> float:
    """Floating-point operations per second of a matrix product, with the threads and numbers that the models use."""
    if setting.device == "cpu":
        return measured_rate(setting.threads)
    one = torch.rand(_MATRIX, _MATRIX, device=setting.device, dtype=getattr(torch, setting.dtype))
    best = 0.0
    for _ in range(10):
        torch.cuda.synchronize()
        began = perf_counter()
        one @ one
        torch.cuda.synchronize()
        best = max(best, 2 * _MATRIX**3 / (perf_counter() - began))
    return best


def peak_memory() -> int:
    """Bytes of this process's largest size so far; on a GPU of what torch had there."""
    if torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _busy_seconds() -> float:
    """Of all cores together since the machine started, in which they did something: user, nice, system, interrupts."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]]
    idle_and_waiting = fields[3] + fields[4]
    return (sum(fields[:8]) - idle_and_waiting) / os.sysconf("SC_CLK_TCK")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # it is imported from a folder
        return "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    return done.stdout.strip() or "unknown"
