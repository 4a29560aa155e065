"""Reports with one call, from a script or from a notebook."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments.front import Place
from counterpoint.experiments.results import COLLECTED
from counterpoint.files import near
from counterpoint.run import Run

OUT = "report.html"
_NEEDED = ("altair", "jinja2", "vl_convert")
_MARK = '<meta name="generator" content="Counterpoint">'
TEXT = ".md"
"""The ending of the name of a report that is a text."""
TEXT_MARK = "<!-- Counterpoint: counterpoint report"
_HEAD = 8192
"""Characters of a file in which a page has its mark."""


def report(
    places: Place | Sequence[Place],
    *,
    out: str | Path = OUT,
    figures: str | Path | None = None,
    title: str = "",
    claims: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """The path of a report of runs and studies, one HTML file that needs no network; an older report is replaced.

    If the name of `out` ends in `.md` it is a text in Markdown, with its figures in a folder `figures` beside it, that
    answers the questions of a study; with `claims` (`zeng2026`) also how far its results agree with a publication.
    `figures` is a folder for its figures as SVG, PDF and PNG, and its tables. `tell` is called with a line about what
    is being done. Raises ConfigError if the extra `report` is missing, RunError if a place holds no runs, or a file
    cannot be written, before any run is read.
    """
    several: Sequence[Place] = [places] if isinstance(places, str | Path | Run) else places
    paths = [place.path if isinstance(place, Run) else Path(place).expanduser() for place in several]
    file, folder = Path(out).expanduser(), None if figures is None else Path(figures).expanduser()
    check(paths, file, folder, claims)
    if file.suffix == TEXT:
        tell("reading the runs")
        return _text(paths, file, folder, title, claims)
    from counterpoint.reports.figures.files import write_figures
    from counterpoint.reports.gather import gather
    from counterpoint.reports.report.write import cell_pictures, write_report

    tell("reading the runs")
    found = gather(paths)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_report(found, file, places=paths, title=title, tell=tell)
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror or error}") from error
    if folder is not None:
        tell("writing the figures")
        write_figures(found, folder, more=cell_pictures(found))
    return file


def _text(paths: Sequence[Path], out: Path, folder: Path | None, title: str, claims: str) -> Path:
    """The path of the report as text."""
    from counterpoint.reports.figures.files import write_figures
    from counterpoint.reports.gather import gather
    from counterpoint.reports.text.claims import claims_of
    from counterpoint.reports.text.write import title_of, write_page

    found = gather(paths, collected_alone=True)
    name = title_of(found, paths)
    found = replace(found, title=title or name)
    words = ["counterpoint", "report", *_places(paths), "--out", f"{name}/{out.name}" if len(paths) == 1 else str(out)]
    words += ["--claims", claims] if claims else []
    words += ["--title", title] if title else []
    try:
        write_page(found, out, command=shlex.join(words), claims=claims_of(claims))
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}") from error
    if folder is not None:
        write_figures(found, folder)
    return out


def _places(paths: Sequence[Path]) -> list[str]:
    """The places as a command names them; of one, the end of its path, so that its page is the same wherever it is."""
    if len(paths) > 1:
        return [str(path) for path in paths]
    parts = paths[0].resolve().parts
    return ["/".join(parts[-2:] if parts[-1] == COLLECTED else parts[-1:])]


def check(paths: Sequence[Path], out: Path, figures: Path | None, claims: str = "") -> None:
    """Raises ConfigError and RunError for what can be found wrong before a run is read."""
    if claims and out.suffix != TEXT:
        raise ConfigError(f"--claims {claims}: claims are judged in a text; name a file that ends in {TEXT} with --out")
    if claims:
        from counterpoint.reports.text.claims import claims_of

        claims_of(claims)
    if not paths:
        raise ConfigError("a report needs a run or a study: name its directory")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"pip install 'counterpoint[report]' first (there is no {', '.join(missing)})")
    for path in paths:
        if not path.exists():
            raise RunError(f"{path} is not a run, a study or a folder of collected files: {_absent(path)}")
    if out.is_dir():
        raise RunError(f"{out} cannot be written: it is a folder; name a file, such as {out / OUT}")
    if out.exists() and not _is_page(out):
        raise RunError(f"{out} is there already and is not a report; name another file")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise RunError(f"{figures} cannot hold figures: it is a file; name a folder")


def _absent(path: Path) -> str:
    return f"there is nothing of that name; {near(path)}".rstrip("; ")


def _is_page(file: Path) -> bool:
    """True if a file is a page of ours, or empty."""
    if not file.is_file():
        return False
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            head = text.read(_HEAD)
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror or error}") from error
    return not head or (TEXT_MARK if file.suffix == TEXT else _MARK) in head
