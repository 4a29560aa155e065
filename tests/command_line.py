"""The command line, asked in this process: what it prints is caught, and nothing of it is left behind.

A process of its own takes seconds to import torch. Tests that need one, for its status, streams or signals, start it.
"""

import importlib
import io
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from counterpoint.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a finished process would tell, by the names that `subprocess` has for it."""

    returncode: int
    stdout: str
    stderr: str


def command_line(*arguments: object, folder: Path | None = None) -> Done:
    """`counterpoint`, with these arguments, in a folder. An error that is not for the user goes on to the test."""
    out, err = io.StringIO(), io.StringIO()
    argv, path, known = sys.argv, [*sys.path], set(sys.modules)
    sys.argv = ["counterpoint", *map(str, arguments)]
    importlib.invalidate_caches()
    try:
        with chdir(folder or Path()), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        return Done(end.code or 0, out.getvalue(), err.getvalue())
    finally:
        sys.argv, sys.path[:] = argv, path
        if folder is not None:
            _forget(set(sys.modules) - known, folder.resolve())
    raise AssertionError("the command line always ends with an exit status")


def _forget(names: set[str], folder: Path) -> None:
    """Modules from the user's folder are read anew by the next command, as in a process of its own."""
    for name in names:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).resolve().is_relative_to(folder):
            del sys.modules[name]
