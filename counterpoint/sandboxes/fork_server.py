"""The default sandbox, which needs only Linux and Python: one fork server per slot, one confined fork per job."""

import sys
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from counterpoint.sandboxes._pool import Pool
from counterpoint.sandboxes.base import Sandbox


def fork_server(
    *,
    slots: Annotated[int, Field(ge=0, le=1024)] = 0,
    require: Literal["A", "B", "C", "D"] = "B",
    python: str = sys.executable,
    packages: Sequence[str] = ("numpy",),
    namespaces: bool = True,
) -> Sandbox:
    """A sandbox of fork servers, not started.

    It runs `slots` jobs at once (0: one per core). Programs can import `packages` in addition to the standard library.
    `start` fails if the tier is below `require`. With `namespaces`, they are used where this process is not root.
    `docs/sandbox.md` describes its layers of confinement and what they do not stop.
    """
    return Pool(
        "fork_server",
        slots=slots,
        require=require,
        python=python,
        packages=packages,
        namespaces="own" if namespaces else "none",
    )
