"""The commands about several runs: advise, plot, table, runs."""

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.arguments import Overrides, RunPaths, recipe_names
from counterpoint.cli.several import SeveralFrom
from counterpoint.errors import ConfigError

app = typer.Typer()


@app.command(cls=SeveralFrom, epilog="Example: counterpoint advise voting_arithmetic --minutes 60")
def advise(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A name that `counterpoint recipes` lists, a folder, or a TOML file; not needed with --from.",
            autocompletion=recipe_names,
        ),
    ] = "",
    overrides: Overrides = None,
    minutes: Annotated[float, typer.Option(help="The time that the pilots may take.")] = 60.0,
    arms: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="What to race: shared, isolated, slots, tables; shared,isolated."),
    ] = None,
    margin: Annotated[float, typer.Option(help="Points of accuracy within which arms are alike.")] = 2.0,
    steps: Annotated[int | None, typer.Option(help="Training steps of a pilot, if not those of the recipe.")] = None,
    more: Annotated[bool, typer.Option("--more", help="Go on after `cannot tell`, with these minutes.")] = False,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="RUNS...", help="Answer from finished runs, or folders of them; train nothing."),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Train what fits, if fewer than 3 rounds do.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Also write everything to this file.")] = None,
) -> None:
    """Shared or isolated policies for your workflow? Trains pilots within the minutes, and says what can be said."""
    from counterpoint.cli.advise import race, read
    from counterpoint.experiments.advise import Ask

    ask = Ask(minutes=minutes, margin=margin, anyway=anyway, more=more)
    if runs:
        read(runs, recipe, overrides or [], ask, out, raced=bool(arms or steps or more or anyway))
    elif not recipe:
        raise ConfigError("advise needs a recipe, or finished runs with --from")
    else:
        race(recipe, overrides or [], ask, arms, steps, out)


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
