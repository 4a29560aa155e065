"""The command line: parse, call, print. What needs an engine is imported only when its command runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from counterpoint import __version__
from counterpoint.config import every_key
from counterpoint.errors import CounterpointError
from counterpoint.recipe import load_config, recipes

app = typer.Typer(
    name="counterpoint",
    help="Train multi-agent LLM workflows with reinforcement learning; see role by role why it works or falls apart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

init = typer.Typer(help="Write files of your own to start from.", no_args_is_help=True)
app.add_typer(init, name="init")


def recipe_names(incomplete: str) -> list[str]:
    """The recipes that complete a word, for the shell."""
    return [name for name in recipes() if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """The keys of a recipe that complete a word, for the shell."""
    return [f"{key}=" for key in every_key() if key.startswith(incomplete)]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"counterpoint {__version__}")
        raise typer.Exit


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Override keys of the recipe, such as run.seed=1.", autocompletion=keys
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
RunPaths = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]
Into = Annotated[Path, typer.Option(metavar="DIR", help="Where the files go; created if needed.")]


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train multi-agent LLM workflows with reinforcement learning; see role by role why it works or falls apart."""


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A name that `counterpoint recipes` lists, a folder, or a TOML file.",
            autocompletion=recipe_names,
        ),
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Where the run goes; runs/<cell> if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do none of it.")] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Also write profile.jsonl, where each step's time goes; a table at the end."),
    ] = False,
) -> None:
    """Train the policies of a workflow."""
    config = load_config(recipe, overrides or [])
    from counterpoint.cli.train import plan_only, start

    if dry_run:
        plan_only(config)
    else:
        start(config, out, recipe, overrides or [], profile=profile)


@app.command()
def resume(run: RunPath) -> None:
    """Resume a run from its last checkpoint."""
    from counterpoint.cli.train import go_on

    go_on(run)


@app.command()
def evaluate(
    target: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run directory, or a base model.")],
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    samples: Annotated[int, typer.Option(min=1, help="Episodes per task.")] = 1,
    step: Annotated[int | None, typer.Option(help="Which checkpoint of a run; the last if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write everything to this JSON file.")] = None,
    swap: Annotated[
        str | None, typer.Option(metavar="ROLE,ROLE", help="Compare with the policies of two roles exchanged.")
    ] = None,
    ablate: Annotated[str | None, typer.Option(metavar="ROLE", help="Compare with the base as this role.")] = None,
    solo: Annotated[
        bool, typer.Option("--solo", help="Compare with each role alone, once and as often as the team's tokens allow.")
    ] = False,
    transfer: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Play another run's workflow and task; compare with the base."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Compare with another run, on the same tasks.")
    ] = None,
) -> None:
    """Measure accuracy, for the team and for each role; compare a run with a control."""
    from counterpoint.cli.engine import import_without_scipy

    import_without_scipy()
    from counterpoint.cli.evaluate import measure
    from counterpoint.controlled import Ask, Control
    from counterpoint.run import Run

    one, _, other = (swap or "").partition(",")
    control = Control(
        swap=(one, other) if swap else None,
        ablate=ablate,
        solo=solo,
        transfer=Run.read(transfer) if transfer else None,
        against=Run.read(against) if against else None,
    )
    measure(target, overrides or [], Ask(split, samples, step), control, out)


@app.command()
def show(
    run: RunPath,
    step: Annotated[int | None, typer.Option(help="Which training step; the last if not given.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Only episodes of this task (the beginning of its id is enough).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The largest number of episodes to print.")] = 2,
    outcome: Annotated[str, typer.Option(help="Only episodes: any, right, wrong, failed, not-judged, split.")] = "any",
) -> None:
    """Print episodes, call by call: prompts, replies, claims, verdicts, rewards and advantages."""
    from counterpoint.cli.show import show_episodes

    show_episodes(run, step, task, limit, outcome)


@app.command()
def export(
    run: RunPath,
    policy: Annotated[str, typer.Option(help="Which of the run's policies.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where it goes; a new or empty directory.")],
    step: Annotated[int | None, typer.Option(help="Which checkpoint of the run; the last if not given.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="Merge it into its base: a model of its own.")] = False,
) -> None:
    """Write a policy as a PEFT adapter, or as a model of its own, with a model card."""
    from counterpoint.cli.export import write_policy

    write_policy(run, policy, step, merged, out)


@app.command()
def serve(
    run: RunPath,
    overrides: Overrides = None,
    step: Annotated[int | None, typer.Option(help="Which checkpoint of the run; the last if not given.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; whoever reaches it may ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="COUNTERPOINT_API_KEY", help="A key that every request must have, if given.")
    ] = None,
) -> None:
    """Answer problems with the whole trained workflow, as one model of OpenAI's chat completions interface."""
    from counterpoint.cli.serve import serve_run

    serve_run(run, overrides or [], step, host, port, api_key)


@app.command()
def diagnose(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(help="Also write everything to this JSON file.")] = None,
) -> None:
    """Name the failure signatures that a run shows: evidence, meaning, what to try."""
    from counterpoint.cli.diagnose import report

    report(run, out)


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


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder that holds the runs.")] = Path("runs"),
) -> None:
    """List the runs in a folder: state, steps, recipe, sharing, accuracy."""
    from counterpoint.cli.runs import print_runs

    print_runs(folder)


@app.command("recipes")
def list_recipes() -> None:
    """List the recipes that can be named, with what each trains."""
    from counterpoint.cli.recipes import print_recipes

    print_recipes()


@app.command()
def doctor(
    interventions: Annotated[
        bool, typer.Option("--interventions", help="Instead list the interventions and their options.")
    ] = False,
) -> None:
    """Check that this machine and installation can train."""
    from counterpoint.cli.doctor import examine, print_interventions

    if interventions:
        print_interventions()
    else:
        sys.exit(examine())


@init.command("workflow")
def init_workflow(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of the workflow and its module, such as my_flow.")
    ],
    into: Into = Path(),
) -> None:
    """Write NAME.py, a workflow of two roles to change, and test_NAME.py."""
    from counterpoint.cli.init import write_workflow

    write_workflow(name, into)


@init.command("task")
def init_task(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the file, without its extension.")],
    into: Into = Path(),
) -> None:
    """Write NAME.jsonl, questions and answers to replace with your own."""
    from counterpoint.cli.init import write_questions

    write_questions(name, into)


def main() -> None:
    """Run the command line; an error is one line on standard error and exit status 2."""
    try:
        app()
    except CounterpointError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
