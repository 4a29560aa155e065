"""Several cells in one figure: the accuracy of the team and of each role, a line per cell."""

from collections.abc import Iterator, Sequence

from counterpoint.reports import frames
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.drawn_lines import Subject, drawn
from counterpoint.reports.figures.recorded import Recorded, named
from counterpoint.reports.seen import CellSeen


def overlaid(cells: Sequence[CellSeen], roles: Sequence[str]) -> Iterator[Figure]:
    """The team, then every role, on test problems."""
    import polars as pl

    found = []
    for cell in cells:
        team = frames.accuracies(cell).filter(split="test").select("seed", "step", "value", role=pl.lit("team"))
        own = frames.role_accuracies(cell).filter(split="test").select("seed", "step", "value", "role")
        found.append(pl.concat([team, own]).with_columns(who=pl.lit(cell.name)))
    every = pl.concat(found)
    runs = [run for cell in cells for run in cell.runs]
    names = tuple(cell.name for cell in cells)
    together = Recorded(cell=CellSeen(name="", labels={}, runs=runs), roles=(), compared=names)
    for who in dict.fromkeys(["team", *roles]):
        subject = Subject(
            name=named("accuracy", who),
            title=f"Accuracy of {'the team' if who == 'team' else who}, test problems",
            says=f"The accuracy of {'the team' if who == 'team' else f'the claims of {who}'} in every evaluation.",
            axis="accuracy",
            form="%",
            words="{:.1%}",
        )
        figure = drawn(together, every.filter(role=who).select("seed", "step", "who", "value"), subject)
        if figure is not None:
            yield figure
