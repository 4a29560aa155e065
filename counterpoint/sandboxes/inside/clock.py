"""What a process has used."""

import time


def cpu_seconds(process: int) -> float:
    """CPU time of a process so far, all its threads together; 0 if it has ended."""
    try:
        return float(time.clock_gettime((~process << 3) | 2))  # the kernel's name for the CPU clock of a process
    except OSError:
        return 0.0
