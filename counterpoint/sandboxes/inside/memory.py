"""The memory that a process has used. Address space that is only reserved, such as a large stack, is not used."""

import resource

RESERVED = 2**30
"""Bytes that a program may reserve beyond its limit, at most: what it writes to before it is stopped is bounded so."""


def resident(process: int | str) -> int:
    """Bytes of memory in which a process holds something; 0 if it has ended, or the kernel does not tell."""
    try:
        with open(f"/proc/{process}/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def address_space() -> int:
    """Bytes of address space of this process."""
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def addressable(limit: int) -> int:
    """The limit on the address space of a process that may use `limit` bytes, as far as this process may set it."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = limit + RESERVED
    return most if hard == resource.RLIM_INFINITY else max(limit, min(most, hard))


def exceeded(usage: resource.struct_rusage, limit: int) -> bool:
    """True if a process that has ended ever used more than `limit` bytes at once."""
    return usage.ru_maxrss * 1024 > limit
