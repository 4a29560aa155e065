"""The figures and tables of a study as files, for a paper."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.experiments.compared import Compared
from counterpoint.reports.compared_table import comma_separated, latex, markdown
from counterpoint.reports.drawing import pdf, png, svg
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.seen import Gathered
from counterpoint.reports.tables import FORMATS, table_of

DRAWN: Mapping[str, Callable[[Figure], bytes]] = {
    "svg": lambda figure: svg(figure).encode("utf-8"),
    "pdf": pdf,
    "png": png,
}


def write_figures(
    gathered: Gathered, folder: Path, formats: Sequence[str] = ("svg", "pdf", "png"), more: Sequence[Figure] = ()
) -> list[Path]:
    """The files that were written: every figure of the study and those in `more`, in the light theme, and the tables.

    A figure's files have its name: `map.svg`. Its numbers, and those of all that was compared (`compared`), are
    `tables/<name>.csv`, `.md` and `.tex`. Existing files of these
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
        for name, text in _tables(gathered.compared, figures):
            written.append(folder / "tables" / name)
            written[-1].write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--figures {folder} cannot be written to: {error.strerror or error}") from error
    if failed:
        raise RunError(f"not every figure could be drawn: {'; '.join(failed)}")
    return written


def _tables(compared: Compared | None, figures: Sequence[Figure]) -> Iterator[tuple[str, str]]:
    """Name of a file -> its text: of what was compared, and of every figure."""
    if compared is not None:
        for ending, written in (("csv", comma_separated), ("md", markdown), ("tex", latex)):
            yield f"compared.{ending}", written(compared) + "\n"
    for figure in figures:
        table = table_of(figure)
        yield from ((f"{figure.name}.{ending}", write(table)) for ending, write in FORMATS.items())


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
                failed.append(f"{figure.name}.{form}: {' '.join(str(error).splitlines()[:2])}")
                continue
            file = folder / f"{figure.name}.{form}"
            file.write_bytes(drawn)
            yield file
