"""The figures of a study, by what they show."""

from collections.abc import Mapping

from counterpoint.experiments.taught import taught
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.before_falls import fall_diagnostics, fall_marks
from counterpoint.reports.figures.controls import controls
from counterpoint.reports.figures.factors import factor_shares, factors
from counterpoint.reports.figures.falls import fall_rates, survival
from counterpoint.reports.figures.forest import forest
from counterpoint.reports.figures.map import map_of
from counterpoint.reports.figures.signatures import signatures
from counterpoint.reports.figures.taught import taught_figure
from counterpoint.reports.seen import Gathered


def figures_of(gathered: Gathered) -> Mapping[str, list[Figure]]:
    """map, differences, factors, falls, before_falls, signatures, taught, controls -> their figures, if any."""
    return gathered.once("figures", _drawn)


def _drawn(gathered: Gathered) -> Mapping[str, list[Figure]]:
    found, collected = gathered.compared, gathered.collected
    cells = [cell for cell in gathered.cells if not cell.control]
    drawn: dict[str, list[Figure | None]] = {
        "map": [map_of(found, gathered.excluded)] if found else [],
        "differences": [forest(found)] if found else [],
        "factors": [factors(found), factor_shares(found, collected)] if found else [],
        "falls": [fall_rates(found), survival(found)] if found else [],
        "before_falls": [fall_marks(gathered), fall_diagnostics(gathered)],
        "signatures": [signatures(cells)],
        "taught": [taught_figure(taught(collected))],
        "controls": [controls(collected, found.margin) if found else controls(collected)],
    }
    return {name: [one for one in figures if one is not None] for name, figures in drawn.items()}
