"""`counterpoint report`."""

from collections.abc import Sequence
from pathlib import Path

from rich.status import Status

from counterpoint.cli.out import Terminal, check_folder, check_out
from counterpoint.reports.front import TEXT, check, report


def write(places: Sequence[Path], out: Path, figures: Path | None, title: str, claims: str = "") -> None:
    """The report is written, and its path printed with the way to open it.

    Raises ConfigError if the extra is missing, RunError for what is no run and for a place that cannot be written to.
    """
    paths = [_found(place) for place in places]
    check(paths, out, figures, claims)
    check_out(out)
    if figures is not None:
        check_folder(figures)
    console = Terminal(goes_on=True)
    with Status("reading the runs", console=console) as status:
        report(
            paths, out=out, figures=figures, title=title, claims=claims, tell=lambda text: status.update(_plain(text))
        )
    next_step = "; its figures are in the folder figures beside it" if out.suffix == TEXT else "; open it in a browser"
    console.print(f"wrote {out}{next_step}", markup=False, soft_wrap=True)
    if figures is not None:
        console.print(f"figures and tables: {figures}", markup=False, soft_wrap=True)


def _found(place: Path) -> Path:
    """The place or, where there is none, that of a study of this name in runs/."""
    inside = Path("runs") / place
    return inside if not place.exists() and len(place.parts) == 1 and inside.is_dir() else place


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
