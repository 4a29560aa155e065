"""`counterpoint view`: runs and studies in the browser, while they are written."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console

from counterpoint.errors import ConfigError, RunError

_KINDNESS = 5
"""By how much the viewer stands back behind what trains on the same machine."""


def view(folder: Path, host: str, port: int, token: str | None, names: Sequence[str], *, opens: bool) -> None:
    """Shows the runs below `folder` until Ctrl-C. Raises RunError and ConfigError."""
    check(folder)
    _stand_back()
    server = _imported()
    console = Console(highlight=False, emoji=False)

    def ready(address: str) -> None:
        console.print(f"{address}  shows {folder}; Ctrl-C ends it", markup=False, soft_wrap=True)
        if opens and sys.stdout.isatty():
            webbrowser.open(address)

    server.view(folder, host=host, port=port, token=token, names=names, ready=ready)


def bundle(folder: Path, out: Path) -> None:
    """Writes the pages about the runs below `folder` as files. Raises RunError and ConfigError."""
    check(folder)
    _imported()
    from counterpoint.reports.viewer.bundle import write_bundle

    console = Console(highlight=False, emoji=False)
    for line in write_bundle(folder, out):
        console.print(line, markup=False, soft_wrap=True)


def check(folder: Path) -> None:
    """Raises RunError if there is no such folder."""
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder: name one that holds runs, or a run")


def _stand_back() -> None:
    """Training on the same machine goes first."""
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    if hasattr(os, "nice"):
        os.nice(_KINDNESS)


def _imported() -> ModuleType:
    """The module that answers. Raises ConfigError if the packages that draw are not installed."""
    try:
        from counterpoint.reports.viewer import server
    except ImportError as error:
        raise ConfigError(f"pip install 'counterpoint[report]' first ({error})") from error
    return server
