"""Writing the results of a command to the file that the user named."""

import json
from pathlib import Path
from typing import Any

from counterpoint.errors import RunError


def check_out(out: Path | None) -> None:
    """Raises RunError, before any work is done, if there is no folder to write the file into."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise RunError(f"--out {out} cannot be written: it is a folder, or its folder does not exist")


def write_out(out: Path | None, value: Any) -> None:
    """The file holds the value as JSON, if one was named. Raises RunError if it cannot be written."""
    if out is None:
        return
    try:
        out.write_text(json.dumps(value, indent=2) + "\n")
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error}") from error
