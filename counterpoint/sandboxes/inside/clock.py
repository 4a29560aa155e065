"""The CPU time that a process has used."""

import time


def cpu_seconds(process: int) -> float:
    """Seconds of CPU time of all threads of a process so far; 0 if it has ended."""
    try:
        return float(time.clock_gettime((~process << 3) | 2))  # the kernel's id of the CPU clock of a process
    except OSError:
        return 0.0
