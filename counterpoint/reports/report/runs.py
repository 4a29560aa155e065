"""The table of all runs, and the copies of numbers within the page."""

import base64
import csv
import io
from collections.abc import Iterator, Sequence

from counterpoint.reports.report.numbers import RunRow, duration
from counterpoint.reports.report.parts import Column, Copy

Value = tuple[str, float | None]
"""The text of a cell of the table, and the number by which it is sorted."""
COLUMNS = (
    Column(name="run"),
    Column(name="cell"),
    Column(name="seed", is_number=True),
    Column(name="state"),
    Column(name="base", is_number=True),
    Column(name="peak", is_number=True),
    Column(name="at step", is_number=True),
    Column(name="end", is_number=True),
    Column(name="gain", is_number=True),
    Column(name="drop", is_number=True),
    Column(name="fell"),
    Column(name="signatures"),
    Column(name="steps", is_number=True),
    Column(name="tokens", is_number=True),
    Column(name="time", is_number=True),
)
_PARTS = (
    "run",
    "path",
    "cell",
    "seed",
    "workflow",
    "sharing",
    "task",
    "model",
    "control",
    "state",
    "steps",
    "peak_step",
)
_MORE = ("base", "peak", "terminal", "samples", "fell", "onset", "stopped", "signatures", "tokens", "seconds")
_ORIGIN = ("cpu_seconds", "version", "commit", "config_sha256", "tasks_sha256")
MEDIA = {"csv": "text/csv", "md": "text/markdown", "tex": "application/x-tex", "json": "application/json"}


def table_row(row: RunRow) -> list[Value]:
    """The run as a row of the table, with a value for each of `COLUMNS`."""
    record = row.record
    names = dict.fromkeys(one.partition(": ")[0] for one in record.signatures)
    return [
        (record.run, None),
        (row.cell, None),
        (str(record.seed), float(record.seed)),
        (f"{record.state}, stopped" if record.stopped else record.state, None),
        _percent(row.accuracy.get("base")),
        _percent(row.accuracy.get("peak")),
        _number(record.peak_step),
        _percent(row.accuracy.get("terminal")),
        _change(row.gain),
        _change(row.drop),
        (record.fell or "", None),
        (", ".join(names), None),
        _number(record.steps or None),
        (f"{record.tokens:,.0f}", record.tokens) if record.tokens else ("", None),
        (duration(record.seconds), record.seconds) if record.seconds else ("", None),
    ]


def runs_csv(rows: Sequence[RunRow]) -> str:
    """A line per run, with accuracies as fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_PARTS, *_MORE, *_ORIGIN])
    for row in rows:
        writer.writerow(list(_values(row)))
    return out.getvalue()


def copy_of(name: str, text: str) -> Copy:
    """A file as a link that holds it."""
    extension = name.rpartition(".")[2]
    kind = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX", "json": "JSON"}[extension]
    data = base64.b64encode(text.encode()).decode()
    return Copy(kind=kind, name=name, address=f"data:{MEDIA[extension]};charset=utf-8;base64,{data}")


def _values(row: RunRow) -> Iterator[object]:
    record = row.record
    for name in (*_PARTS, *_MORE, *_ORIGIN):
        if name in ("base", "peak", "terminal"):
            yield row.accuracy.get(name)
        elif name == "cell":
            yield row.cell
        elif name == "signatures":
            yield "; ".join(record.signatures)
        else:
            yield getattr(record, name)


def _percent(value: float | None) -> Value:
    return ("", None) if value is None else (f"{100 * value:.1f}", value)


def _change(value: float | None) -> Value:
    return ("", None) if value is None else (f"{100 * value:+z.1f}", value)


def _number(value: int | None) -> Value:
    return ("", None) if value is None else (f"{value}", float(value))
