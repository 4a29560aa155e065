"""The default sandbox: it needs nothing but Linux and Python. A fork server a slot, a confined fork a job."""

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
    """Slots run at once, 0 for as many as there are cores; `packages` can be imported beside the standard library.

    `require`: it does not start where it would confine less well than by this tier. `namespaces`: use them where this
    process is not root. What it is made of, and what it does not stop, is in `docs/sandbox.md`.
    """
    return Pool(
        "fork_server",
        slots=slots,
        require=require,
        python=python,
        packages=packages,
        namespaces="own" if namespaces else "none",
    )
