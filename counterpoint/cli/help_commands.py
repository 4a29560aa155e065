"""The commands that explain and check: recipes, explain, doctor, and init, which writes files to start from."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.arguments import Into, names

app = typer.Typer()
init = typer.Typer(help="Write files of your own to start from.", no_args_is_help=True)


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
