"""`counterpoint plot` and `counterpoint table`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, unknown
from counterpoint.run import Run

KINDS = ("course", "dynamics", "behaviour", "changes", "amplification")
FORMATS = ("markdown", "csv")
EXTENSIONS = (".svg", ".png", ".pdf")


def draw(paths: Sequence[Path], kind: str, out: Path) -> None:
    """`out` holds a picture of the runs.

    Raises ConfigError for an unknown kind or extension, a place that cannot be written to, or a missing extra, RunError
    for what is no run.
    """
    if kind not in KINDS:
        raise ConfigError(unknown("kind of picture", kind, KINDS))
    if out.suffix not in EXTENSIONS:
        raise ConfigError(f"--out {out}: the extension must be one of {', '.join(EXTENSIONS)}")
    for path in paths:
        Run.read(path)
    try:
        from counterpoint.reports.pictures import save_picture

        save_picture(paths, kind, out)
    except ImportError as error:
        raise ConfigError(f"pip install 'counterpoint[report]' first ({error})") from error
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written to: {error.strerror or error}") from error
    print(f"wrote {out}")


def print_table(paths: Sequence[Path], form: str) -> None:
    """The runs are printed as a table. Raises ConfigError for an unknown format, RunError for what is no run."""
    if form not in FORMATS:
        raise ConfigError(unknown("format", form, FORMATS))
    from counterpoint.reports.table import comma_separated, markdown

    runs = [Run.read(path) for path in paths]
    sys.stdout.write((markdown if form == "markdown" else comma_separated)(runs) + "\n")
