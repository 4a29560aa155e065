"""The figures and tables of a study as files, for a paper."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.reports.drawing import pdf, png, svg
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.seen import Gathered
from counterpoint.reports.tables import FORMATS, tables_of

DRAWN: Mapping[str, Callable[[Figure], bytes]] = {
    "svg": lambda figure: svg(figure).encode("utf-8"),
    "pdf": pdf,
    "png": png,
}


def write_figures(
    gathered: Gathered, folder: Path, formats: Sequence[str] = ("svg", "pdf", "png"), more: Sequence[Figure] = ()
) -> list[Path]:
    """The files that were written: every figure of the study and those in `more`, in the light theme, and the tables.

    A figure's files have its name: `map.svg`. Tables are `tables/<name>.csv`, `.md` and `.tex`. Existing files of these
    names are replaced. Raises ConfigError for an unknown format or a folder that cannot be written to, RunError, which
    names the figure, if one cannot be drawn or two have the same name; the others are then written.
    """
    for form in formats:
        if form not in DRAWN:
            raise ConfigError(unknown("format of figures", form, list(DRAWN)))
    figures = [*(one for own in figures_of(gathered).values() for one in own), *more]
    failed: list[str] = []
    try:
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        written = list(_write(figures, folder, formats, failed))
        for name, table in tables_of(gathered).items():
            for ending, write in FORMATS.items():
                written.append(folder / "tables" / f"{name}.{ending}")
                written[-1].write_text(write(table), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--figures {folder} cannot be written to: {error.strerror or error}") from error
    if failed:
        raise RunError(f"not every figure could be drawn: {'; '.join(failed)}")
    return written


def _write(figures: Sequence[Figure], folder: Path, formats: Sequence[str], failed: list[str]) -> Iterator[Path]:
    names: set[str] = set()
    for figure in figures:
        if figure.name in names:
            failed.append(f"{figure.name}: two figures have this name")
            continue
        names.add(figure.name)
        for form in formats:
            try:
                drawn = DRAWN[form](figure)
            except ValueError as error:  # of the program that draws
                failed.append(f"{figure.name}.{form}: {str(error).splitlines()[0]}")
                continue
            file = folder / f"{figure.name}.{form}"
            file.write_bytes(drawn)
            yield file
