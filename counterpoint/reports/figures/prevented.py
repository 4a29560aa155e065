"""Labels against one of them: their differences at the end and at the peak, with the falls beside their names."""

from collections.abc import Sequence

from counterpoint.analysis.comparison import in_points
from counterpoint.experiments.prevented import COLUMNS, Prevented, Prevention, names_of, ranked, rows_of
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import band, domain_of, frame, row, spec
from counterpoint.reports.figures.groups import labels


def prevented(which: Sequence[Prevention], found: Prevented) -> Figure | None:
    """A row per label, the best outcome first: `which` is `found.pooled` or `found.cells`; None if it is empty."""
    import polars as pl

    if not which:
        return None
    order = ranked(which)
    names = [f"{name}: {_fell(one)}" for one, name in zip(order, names_of(order), strict=True)]
    shown = labels(names)
    rows = [row(part, shown[name]) for one, name in zip(order, names, strict=True) for part in (one.peak, one.kept)]
    margin = 100 * found.margin
    several = max(len(one.cells) for one in which) > 1
    over = ", over the cells" if several else ", in each cell" if found.cells else ""
    title = f"Each {found.by} minus {found.reference}{over}"
    outcomes = [one.outcome for one in order]
    told = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
    return Figure(
        name="prevention" if which is found.pooled else "prevention-cells",
        title=title,
        says=(
            f"{title}, in points of accuracy on test tasks, with 95 % intervals;"
            f" the thin lines are simultaneous intervals. Of {len(order)}: {told}. Filled marks are ahead or alike,"
            f" hollow ones cannot be told; grey area: alike within {in_points(found.margin)}. Beside each name: the"
            " runs that fell with it and without it."
        ),
        spec=spec(list(shown.values()), domain_of(rows, margin), f"points over {found.reference}", margin),
        data={"rows": frame(rows), "band": band(margin)},
        table=pl.DataFrame(
            [dict(zip((found.by, *COLUMNS[1:]), one, strict=True)) for one in rows_of(which)], infer_schema_length=None
        ),
    )


def _fell(one: Prevention) -> str:
    return f"{one.falls.fell} of {one.falls.told} fell, {one.falls_without.fell} of {one.falls_without.told} without"
