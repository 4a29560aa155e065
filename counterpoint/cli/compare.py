"""`counterpoint compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from counterpoint.cli.out import Terminal, check_out
from counterpoint.cli.plot import EXTENSIONS
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.experiments.compared import Compared
from counterpoint.experiments.comparing import compare_paths, prevention_paths
from counterpoint.experiments.prevented import Prevented

FORMATS = ("text", "markdown", "csv", "latex")


def compare(
    paths: Sequence[Path],
    against: Sequence[Path],
    by: str,
    margin: float | None,
    out: Path | None,
    json_file: Path | None,
    form: str,
    reference: str = "",
) -> None:
    """The runs are compared and the result is printed, and drawn and written if files are given.

    Raises ConfigError for an option that is wrong, before a run is read, and whatever `compare_paths` raises.
    """
    if form not in FORMATS:
        raise ConfigError(unknown("format", form, FORMATS))
    if out is not None and out.suffix not in EXTENSIONS:
        raise ConfigError(f"--out {out}: the extension must be one of {', '.join(EXTENSIONS)}")
    for file in (out, json_file):
        check_out(file)
    part = None if margin is None else margin / 100
    if reference and against:
        raise ConfigError("--reference and --against exclude each other: both say what is compared with what")
    found = (
        prevention_paths(paths, reference=reference, by=by, margin=part)
        if reference
        else compare_paths(paths, against=against, by=by, margin=part)
    )
    if json_file is not None:
        _write(json_file, found)
    if out is not None:
        _draw(out, found)
    console = Terminal(goes_on=False)
    if form == "text":
        if isinstance(found, Prevented):
            print_prevented(console, found)
        else:
            print_compared(console, found)
        for file in (out, json_file):
            if file is not None:
                console.print(f"wrote {file}", markup=False, soft_wrap=True)
    else:
        typer.echo(_as_table(found, form))


def print_compared(console: Console, found: Compared) -> None:
    """The verdict in words, then what was compared, accuracies and differences, then what a reader must know."""
    from counterpoint.reports.compared_table import (
        ACCURACY,
        DIFFERENCE,
        accuracy_rows,
        difference_rows,
        titles,
    )

    for sentence in found.sentences:
        console.print(sentence, markup=False, soft_wrap=True)
    if found.what:
        console.print(f"compared: {found.what}", markup=False, soft_wrap=True)
    title = titles(found)
    if accuracies := list(accuracy_rows(found)):
        console.print(f"\n{title.accuracy}", markup=False, soft_wrap=True)
        _print_table(console, ACCURACY, accuracies, names=2)
    if differences := list(difference_rows(found)):
        console.print(f"\n{title.difference}", markup=False, soft_wrap=True)
        _print_table(console, DIFFERENCE, differences, names=1)
    for warning in found.warnings:
        console.print(f"note: {warning}", markup=False, soft_wrap=True)


def print_prevented(console: Console, found: Prevented) -> None:
    """The result in words, then what every label did, then what a reader must know."""
    from counterpoint.reports.prevented_table import columns, tables

    for sentence in found.sentences:
        console.print(sentence, markup=False, soft_wrap=True)
    if found.what:
        console.print(f"compared: {found.what}", markup=False, soft_wrap=True)
    for title, rows in tables(found):
        console.print(f"\n{title}", markup=False, soft_wrap=True)
        _print_table(console, columns(found), rows, names=1)
    for warning in found.warnings:
        console.print(f"note: {warning}", markup=False, soft_wrap=True)


def _as_table(found: Compared | Prevented, form: str) -> str:
    from counterpoint.reports import compared_table, prevented_table

    if isinstance(found, Prevented):
        own = {"markdown": prevented_table.markdown, "csv": prevented_table.comma_separated}
        return {**own, "latex": prevented_table.latex}[form](found)
    form_of = {"markdown": compared_table.markdown, "csv": compared_table.comma_separated}
    return {**form_of, "latex": compared_table.latex}[form](found)


def _print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], *, names: int) -> None:
    """The rows below their heads; the first columns are names. No cell is folded, whatever the width of the console."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [
            cell.ljust(width) if place < names else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), markup=False, soft_wrap=True)


def _write(file: Path, found: Compared | Prevented) -> None:
    written: dict[str, Any] = found.as_dict()
    try:
        file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"--json {file} cannot be written: {error.strerror or error}") from error


def _draw(out: Path, found: Compared | Prevented) -> None:
    try:
        from counterpoint.reports.comparison import save_comparison

        save_comparison(found, out)
    except ImportError as error:
        raise ConfigError(f"pip install 'counterpoint[report]' first ({error})") from error
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written to: {error.strerror or error}") from error
