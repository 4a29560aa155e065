"""The command line: parse, call, print. What needs an engine is imported only when its command runs."""

import os
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from counterpoint import __version__
from counterpoint.config import Config
from counterpoint.errors import ConfigError, CounterpointError
from counterpoint.options import dotted_keys
from counterpoint.recipe import load_config, recipes
from counterpoint.run_files import step_of

app = typer.Typer(
    name="counterpoint",
    help="Train multi-agent LLM workflows with reinforcement learning; see role by role why it works or falls apart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="First: counterpoint doctor, then counterpoint train voting_arithmetic. README.md and docs/ say more.",
)

init = typer.Typer(help="Write files of your own to start from.", no_args_is_help=True)
app.add_typer(init, name="init")


def recipe_names(incomplete: str) -> list[str]:
    """The recipes that complete a word, for the shell."""
    return [name for name in recipes() if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """The keys of a recipe that complete a word, for the shell."""
    return [f"{key}=" for key in dotted_keys(Config) if key.startswith(incomplete)]


def names(incomplete: str) -> list[str]:
    """The keys and sections of a recipe that complete a word, for the shell."""
    every = dotted_keys(Config)
    sections = [key.rpartition(".")[0] for key in every if "." in key]
    return [name for name in dict.fromkeys([*sections, *every]) if name.startswith(incomplete)]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"counterpoint {__version__}")
        raise typer.Exit


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Override keys of the recipe, such as run.seed=1; `counterpoint explain` lists them.",
        autocompletion=keys,
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
RunPaths = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]
Checkpoint = Annotated[
    str | None,
    typer.Option(metavar="STEP", help="Which checkpoint: its step, peak, best (the same) or last (the default)."),
]
Into = Annotated[Path, typer.Option(metavar="DIR", help="Where the files go; created if needed.")]


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train multi-agent LLM workflows with reinforcement learning; see role by role why it works or falls apart."""


@app.command(epilog="Example: counterpoint train voting_arithmetic policies.sharing=shared run.seed=1 --out runs/first")
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
    out: Annotated[
        Path | None, typer.Option(help="Where the run goes; in runs/, named after recipe and overrides, if not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do none of it.")] = False,
    all_keys: Annotated[
        bool, typer.Option("--all-keys", help="With --dry-run: every key of the recipe, not only those that are set.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Also write profile.jsonl, where each step's time goes; a table at the end."),
    ] = False,
) -> None:
    """Train the policies of a workflow."""
    if all_keys and not dry_run:
        raise ConfigError("--all-keys goes with --dry-run")
    config = load_config(recipe, overrides or [])
    from counterpoint.cli.train import plan_only, start

    if dry_run:
        plan_only(config, all_keys=all_keys)
    else:
        start(config, out, recipe, overrides or [], profile=profile)


@app.command(epilog="Example: counterpoint resume runs/first")
def resume(
    run: RunPath,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="What may change, such as run.steps=60.", autocompletion=keys),
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on with a recipe or source that has changed; it is recorded.")
    ] = False,
) -> None:
    """Resume a run from its last checkpoint; run.steps=N makes it longer, a finished one too."""
    from counterpoint.cli.train import go_on

    go_on(run, overrides or [], accept_changes=accept_changes)


@app.command(epilog="Example: counterpoint evaluate runs/first --ablate aggregator")
def evaluate(
    target: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run directory, or a base model.")],
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    samples: Annotated[int, typer.Option(min=1, help="Episodes per task.")] = 1,
    step: Checkpoint = None,
    out: Annotated[Path | None, typer.Option(help="Also write everything to this JSON file.")] = None,
    episodes: Annotated[
        Path | None,
        typer.Option(metavar="FILE.parquet", help="Also write the episodes, for `show` and polars; controls beside."),
    ] = None,
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
        Path | None,
        typer.Option(metavar="RUN", help="Compare with another run, on the same tasks: this run minus the other."),
    ] = None,
) -> None:
    """Measure accuracy, for the team and for each role; compare a run with a control."""
    from counterpoint.cli.evaluate import measure
    from counterpoint.controlled import Ask, Control
    from counterpoint.run import Run

    one, comma, other = (swap or "").partition(",")
    if swap and not comma:
        raise ConfigError(f"--swap {swap!r} must name two roles: ROLE,ROLE")
    control = Control(
        swap=(one, other) if swap else None,
        ablate=ablate,
        solo=solo,
        transfer=Run.read(transfer) if transfer else None,
        against=Run.read(against) if against else None,
    )
    measure(target, overrides or [], Ask(split, samples, step_of(step)), control, out, episodes)


@app.command(epilog="Example: counterpoint show runs/first --outcome wrong --limit 1")
def show(
    target: Annotated[
        Path, typer.Argument(metavar="RUN|FILE", help="A run directory, or a file of `evaluate --episodes`.")
    ],
    step: Annotated[
        str | None, typer.Option(metavar="N|base|peak|last", help="Which step; the last if not given.")
    ] = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="Show the evaluation after the step, not the step's training.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Which evaluation: test or validation; implies --evaluation.")
    ] = None,
    task: Annotated[str, typer.Option(help="Only episodes of this task (the beginning of its id is enough).")] = "",
    role: Annotated[str | None, typer.Option(help="Only calls of this role, and only episodes with one.")] = None,
    outcome: Annotated[
        str,
        typer.Option(
            help="Only episodes: any, right, partial, wrong, failed, not-judged; split (some answers right, others"
            " wrong); unreadable, truncated (a call was)."
        ),
    ] = "any",
    limit: Annotated[
        int | None, typer.Option(min=1, help="The largest number of episodes to print; 2, or 20 with --brief.")
    ] = None,
    brief: Annotated[bool, typer.Option("--brief", help="Print one line per episode.")] = False,
) -> None:
    """Print episodes, call by call: prompts, replies, claims, verdicts, rewards and advantages.

    The words of its first lines, such as selection and spoiled, are in docs/glossary.md.
    """
    from counterpoint.cli.show import Asked, show_episodes

    split = split or ("test" if evaluation else None)
    asked = Asked(step=step, split=split, task=task, role=role, outcome=outcome, limit=limit, brief=brief)
    show_episodes(target, asked)


@app.command(epilog="Example: counterpoint export runs/first --policy generator --out exported")
def export(
    run: RunPath,
    policy: Annotated[str, typer.Option(help="Which of the run's policies.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where it goes; a new or empty directory.")],
    step: Checkpoint = None,
    merged: Annotated[bool, typer.Option("--merged", help="Merge it into its base: a model of its own.")] = False,
    dtype: Annotated[str, typer.Option(help="The data type of the merged weights, or bfloat16.")] = "float32",
) -> None:
    """Write a policy as a PEFT adapter, or as a model of its own, with a model card."""
    chosen = step_of(step)
    from counterpoint.run import Run

    Run.read(run).saved_step(chosen)
    from counterpoint.cli.export import write_policy

    write_policy(run, policy, chosen, merged, out, dtype)


@app.command(epilog="Example: counterpoint serve runs/first --port 8000")
def serve(
    run: RunPath,
    overrides: Overrides = None,
    step: Checkpoint = None,
    host: Annotated[str, typer.Option(help="Where to listen; whoever reaches it may ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="COUNTERPOINT_API_KEY", help="A key that every request must have, if given.")
    ] = None,
) -> None:
    """Answer problems with the whole trained workflow, as one model of OpenAI's chat completions interface."""
    chosen = step_of(step)
    from counterpoint.api import check_stage
    from counterpoint.cli.serve import serve_run, to_be_served

    check_stage(to_be_served(run), *(overrides or []), step=chosen)
    serve_run(run, overrides or [], chosen, host, port, api_key)


@app.command(epilog="Example: counterpoint diagnose runs/first")
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


@app.command(epilog="Example: counterpoint runs runs")
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder that holds the runs.")] = Path("runs"),
) -> None:
    """List the runs in a folder: state, steps, recipe, sharing, accuracy."""
    from counterpoint.cli.runs import print_runs

    print_runs(folder)


@app.command("recipes", epilog="Example: counterpoint recipes")
def list_recipes() -> None:
    """List the recipes that can be named, with what each trains."""
    from counterpoint.cli.recipes import print_recipes

    print_recipes()


@app.command(epilog="Example: counterpoint explain policies.learning_rate")
def explain(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A key such as run.steps, a section such as rollout, or a member such as grpo.",
            autocompletion=names,
        ),
    ] = "",
) -> None:
    """Print what a recipe key means, with its type, default and allowed values; without NAME, the sections."""
    from counterpoint.cli.explain import explain_name

    explain_name(name)


@app.command(epilog="Example: counterpoint doctor")
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


@init.command("workflow", epilog="Example: counterpoint init workflow my_flow")
def init_workflow(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of the workflow and its module, such as my_flow.")
    ],
    into: Into = Path(),
) -> None:
    """Write NAME.py, a workflow of two roles to change, and test_NAME.py."""
    from counterpoint.cli.init import write_workflow

    write_workflow(name, into)


@init.command("task", epilog="Example: counterpoint init task my_questions")
def init_task(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the file, without its extension.")],
    into: Into = Path(),
) -> None:
    """Write NAME.jsonl, questions and answers to replace with your own."""
    from counterpoint.cli.init import write_questions

    write_questions(name, into)


def main() -> None:
    """Run the command line; an error is one line on standard error and exit status 2."""
    _silence_libraries()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a sign that the locale lacks is no reason to raise
    try:
        app()
    except BrokenPipeError:
        _end_for_broken_pipe()
    except Exception as error:
        from counterpoint.cli.out import failure_of_place

        reason = failure_of_place(error)
        if reason is None and not isinstance(error, CounterpointError):
            raise
        print(f"error: {reason or error}", file=sys.stderr)
        sys.exit(2)


def _end_for_broken_pipe() -> None:
    from counterpoint.cli.out import BROKEN_PIPE, drop_output

    drop_output()
    sys.exit(BROKEN_PIPE)


def _silence_libraries() -> None:
    """Bars and announcements of libraries, which a user of the command line can do nothing about, are not shown.

    Python's own option `-W` shows the warnings, and `TQDM_DISABLE=` in the environment the bars.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=FutureWarning)
