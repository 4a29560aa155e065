"""The commands about several runs: compare, plot, table, runs."""

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.arguments import RunPaths
from counterpoint.cli.several import SeveralValues

app = typer.Typer()


@app.command(cls=SeveralValues, epilog="Example: counterpoint compare runs/isolated-s* runs/shared-s*")
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="A...", help="Run directories, folders of studies, or folders of collected files."),
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="B...", help="Compare the runs A with these, whatever they differ in: A minus B."),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="AXIS", help="What to compare, such as sharing; all else is kept apart.")
    ] = "",
    margin: Annotated[
        float | None, typer.Option(help="Points within which differences count as alike; 3, or the study's own.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw it: a name that ends in .svg, .png or .pdf.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all numbers.")] = None,
    form: Annotated[str, typer.Option("--format", help="text, markdown or csv.")] = "text",
) -> None:
    """Compare methods over seeds and tasks: which is ahead, or alike, or that it cannot be told."""
    from counterpoint.cli.compare import compare as print_comparison

    print_comparison(runs, against or [], by, margin, out, json_file, form)


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
