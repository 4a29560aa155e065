"""The shared memory through which vLLM's processes talk: named files on tmpfs, which stay when nobody removes them.

vLLM leaves some of them to the tracker of multiprocessing, which removes them once the process that started the engine
has ended. Where Ray ends that process it ends its children too, and the tracker may be one of those.
"""

from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path

OWNER = "COUNTERPOINT_ENGINE_OWNER"
"""The environment variable with the number of the process that started the engine."""
_TMPFS = Path("/dev/shm")
_OURS = ("psm_", "sem.mp-")
"""The beginnings of the names that multiprocessing gives to segments and to semaphores."""


def mapped_by(process: int) -> set[Path]:
    """Those that a process has mapped. Empty once it has ended."""
    try:
        lines = Path(f"/proc/{process}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    # By their inodes, as the one that makes a semaphore maps it under a name that it had before.
    inodes = {int(line.split()[4]) for line in lines if f" {_TMPFS}/" in line}
    return {path for path, inode in _named().items() if inode in inodes}


def started_with(variable: str) -> set[int]:
    """The processes that were started with an environment variable, as `NAME=value`, and have not ended."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            if variable.encode() in (place / "environ").read_bytes().split(b"\0"):
                found.add(int(place.name))
    return found


def _named() -> dict[Path, int]:
    """Every segment and semaphore -> its inode."""
    found = {}
    for path in _TMPFS.iterdir():
        with suppress(FileNotFoundError):  # it was removed meanwhile
            if path.name.startswith(_OURS):
                found[path] = path.stat().st_ino
    return found


def remove(segments: Iterable[Path]) -> None:
    """None of them is left. The processes that have mapped one keep what it holds."""
    for one in segments:
        one.unlink(missing_ok=True)


def remove_and_forget(segments: Iterable[Path]) -> None:
    """None of them is left, and the tracker of this process and its children does not look for one."""
    for one in segments:
        if one.exists():  # else it was removed by the process that made it, which has told the tracker
            one.unlink(missing_ok=True)
            is_semaphore = one.name.startswith("sem.")
            resource_tracker.unregister(
                "/" + one.name.removeprefix("sem."), "semaphore" if is_semaphore else "shared_memory"
            )
