"""The commands about several runs: plot, table, runs."""

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.arguments import RunPaths

app = typer.Typer()


@app.command()
def plot(
    runs: RunPaths,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture: a name that ends in .svg, .png or .pdf.")],
    kind: Annotated[
        str,
        typer.Option(help="course (accuracy and gradients), dynamics (of roles), or amplification (by voters)."),
    ] = "course",
) -> None:
    """Draw one run, or several runs for comparison."""
    from counterpoint.cli.plot import draw

    draw(runs, kind, out)


@app.command()
def table(
    runs: RunPaths,
    form: Annotated[str, typer.Option("--format", help="markdown or csv.")] = "markdown",
) -> None:
    """Print the results of runs as a table: base, peak, terminal, gain and drop, for the team and for each role."""
    from counterpoint.cli.plot import print_table

    print_table(runs, form)


@app.command(epilog="Example: counterpoint runs runs")
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder that holds the runs.")] = Path("runs"),
) -> None:
    """List the runs in a folder: state, steps, recipe, sharing, accuracy."""
    from counterpoint.cli.runs import print_runs

    print_runs(folder)
