"""The commands about several runs: study, compare, advise, plot, table, runs, view."""

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.arguments import Overrides, RunPaths, recipe_names
from counterpoint.cli.several import SeveralValues
from counterpoint.errors import ConfigError

app = typer.Typer()


@app.command(epilog="Example: counterpoint study quick --jobs 2")
def study(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The name of a file in studies/, or a TOML file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and cost every cell, and start none.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB|AXIS=LABEL", help="Only these cells; may be given several times."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,...", help="These seeds, not those of the file.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at the same time; 1, or one per GPU of --gpus.")] = None,
    gpus: Annotated[str | None, typer.Option(metavar="0,1,...", help="GPUs, each for one run at a time.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Show how the cells are, and start nothing.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Resume the runs that failed, too.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start what failed again from its beginning; what it left is kept.")
    ] = False,
    max_hours: Annotated[
        float | None, typer.Option(min=0.0, help="Start no run later than this; those that run are finished.")
    ] = None,
    slurm: Annotated[
        Path | None,
        typer.Option(metavar="SITE.toml", help="Write job arrays for SLURM with these resources, and start nothing."),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(metavar="NAME", help="Create or resume this one; a task of an array does.")
    ] = None,
    done: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Runs that were published in this folder count as finished."),
    ] = None,
    publish: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Add the finished runs to the collected files in this folder; start nothing."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The study's folder; runs/NAME if not given.")] = None,
) -> None:
    """Run every cell of a study, several at a time; called again, it continues where it was."""
    from counterpoint.cli.study import Asked, gpus_of, run_study, seeds_of
    from counterpoint.experiments.runner import Rules

    asked = Asked(
        only=tuple(only or ()),
        seeds=seeds_of(seeds),
        jobs=jobs,
        gpus=gpus_of(gpus),
        rules=Rules(retry=retry, restart=restart, max_hours=max_hours),
        dry_run=dry_run,
        status=status,
        slurm=slurm,
        cell=cell,
        done=done,
        publish=publish,
        out=out,
    )
    run_study(study, asked)


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
    form: Annotated[str, typer.Option("--format", help="text, markdown, csv or latex.")] = "text",
) -> None:
    """Compare methods over seeds and tasks: which is ahead, or alike, or that it cannot be told."""
    from counterpoint.cli.compare import compare as print_comparison

    print_comparison(runs, against or [], by, margin, out, json_file, form)


@app.command(cls=SeveralValues, epilog="Example: counterpoint advise voting_arithmetic --minutes 60")
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


@app.command(cls=SeveralValues, epilog="Example: counterpoint report runs/first")
def report(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY|RUN...", help="Run directories, folders of studies or of runs, or collected files."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The page, or a text (FILE.md) with figures; an older report is replaced."),
    ] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write its figures (SVG, PDF, PNG) and tables (CSV, Markdown, LaTeX)."),
    ] = None,
    title: Annotated[str, typer.Option(help="The title of the page; the study's or the run's name if not given.")] = "",
    claims: Annotated[
        str, typer.Option(metavar="NAME", help="In a text: also how far it agrees with a publication; zeng2026.")
    ] = "",
) -> None:
    """Write a report: one HTML page about runs or a study, which needs no network."""
    from counterpoint.cli.report import write

    write(places, out, figures, title, claims)


@app.command()
def plot(
    runs: RunPaths,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture: a name that ends in .svg, .png or .pdf.")],
    kind: Annotated[
        str,
        typer.Option(
            help="course (accuracy and gradients), dynamics (of roles), behaviour (of replies), changes (right and"
            " wrong), or amplification (by parallel calls)."
        ),
    ] = "course",
) -> None:
    """Draw one run, or several runs for comparison."""
    from counterpoint.cli.plot import draw

    draw(runs, kind, out)


@app.command()
def table(
    runs: RunPaths,
    form: Annotated[str, typer.Option("--format", help="markdown, csv or latex.")] = "markdown",
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


@app.command(epilog="Example: counterpoint view runs")
def view(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder that holds the runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine, a token is needed.")] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(envvar="COUNTERPOINT_VIEW_TOKEN", help="What the address must end with; made if needed."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name of the server; may be given several times.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the pages as files into this folder, and serve nothing.")
    ] = None,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser, on a terminal.")] = False,
) -> None:
    """Show runs and studies in the browser, live: curves, warnings, and every episode. It only reads."""
    from counterpoint.cli import view as viewer

    if bundle is not None:
        viewer.bundle(folder, bundle)
    else:
        viewer.view(folder, host, port, token, allowed_host or [], opens=opens)
