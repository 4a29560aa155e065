"""The commands about one run: train, resume, evaluate, show, export, serve, diagnose."""

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.arguments import Checkpoint, Overrides, RecipeName, RunPath, keys
from counterpoint.errors import ConfigError
from counterpoint.recipe import load_config
from counterpoint.run_files import step_of

app = typer.Typer()


@app.command(epilog="Example: counterpoint train voting_arithmetic policies.sharing=shared run.seed=1 --out runs/first")
def train(
    recipe: RecipeName,
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
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,...", help="A run for each of these seeds, and their summary.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="With --seeds: runs at the same time; 1 if not given.")
    ] = None,
) -> None:
    """Train the policies of a workflow."""
    if all_keys and not dry_run:
        raise ConfigError("--all-keys goes with --dry-run")
    if jobs is not None and seeds is None:
        raise ConfigError("--jobs goes with --seeds")
    if seeds is not None:
        from counterpoint.cli.study import seeds_of
        from counterpoint.cli.train_seeds import train_seeds

        if profile or all_keys:
            raise ConfigError("--profile and --all-keys are of one run, and --seeds makes several")
        train_seeds(recipe, overrides or [], seeds_of(seeds) or (), out, jobs, dry_run=dry_run)
        return
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
    samples: Annotated[int | None, typer.Option(min=1, help="Episodes per task; 1, or 8 with --taught.")] = None,
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
    taught: Annotated[
        bool,
        typer.Option("--taught", help="Compare with the base on the tasks that it never, sometimes or always solves."),
    ] = False,
    tries: Annotated[
        int | None,
        typer.Option(min=0, help="With --taught: the base's tries that sort the tasks; 64 if not given, 0: run alone."),
    ] = None,
) -> None:
    """Measure accuracy, for the team and for each role; compare a run with a control."""
    from counterpoint.analysis.tries import MOST
    from counterpoint.cli.evaluate import measure
    from counterpoint.controlled import Ask, Control
    from counterpoint.run import Run

    control = Control(
        swap=_two_roles(swap) if swap else None,
        ablate=ablate,
        solo=solo,
        transfer=Run.read(transfer) if transfer else None,
        against=Run.read(against) if against else None,
        taught=_tries(tries, taught=taught),
    )
    asked = Ask(split, samples or (MOST if taught else 1), step_of(step))
    measure(target, overrides or [], asked, control, out, episodes)


def _two_roles(swap: str) -> tuple[str, str]:
    one, comma, other = swap.partition(",")
    if not comma:
        raise ConfigError(f"--swap {swap!r} must name two roles: ROLE,ROLE")
    return one, other


def _tries(given: int | None, *, taught: bool) -> int | None:
    """The tries of the base that sort the tasks; None without `--taught`."""
    from counterpoint.analysis.tries import TRIES

    if given is not None and not taught:
        raise ConfigError("--tries goes with --taught")
    return (TRIES if given is None else given) if taught else None


@app.command(epilog="Example: counterpoint show runs/first --outcome wrong --limit 1")
def show(
    target: Annotated[
        Path, typer.Argument(metavar="RUN|FILE", help="A run directory, or a file of `evaluate --episodes`.")
    ],
    step: Annotated[
        str | None, typer.Option(metavar="N|base|peak|best|last", help="Which step; the last if not given.")
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
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="A run directory; with --rates, runs, studies or collected.")
    ],
    out: Annotated[Path | None, typer.Option(help="Also write everything to this JSON file.")] = None,
    rates: Annotated[
        bool, typer.Option("--rates", help="How often each signature shows in runs that fell, and in runs that held.")
    ] = False,
) -> None:
    """Name the failure signatures that a run shows: evidence, meaning, what to try."""
    from counterpoint.cli.diagnose import report, report_rates

    if rates:
        report_rates(runs, out)
        return
    if len(runs) > 1:
        raise ConfigError("diagnose reads one run; --rates counts signatures over several")
    report(runs[0], out)
