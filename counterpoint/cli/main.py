"""The command line: parse, call, print. What needs an engine is imported only when its command runs."""

import os
import sys
import warnings
from io import TextIOWrapper
from typing import Annotated

import typer

from counterpoint import __version__
from counterpoint.cli import help_commands, run_commands, study_commands
from counterpoint.errors import CounterpointError, RunInUseError

IN_USE = os.EX_TEMPFAIL
"""The exit status of a command that finds its run in use by another process."""

app = typer.Typer(
    name="counterpoint",
    help="Train multi-agent LLM workflows with reinforcement learning; see role by role why it works or falls apart.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="First: counterpoint doctor, then counterpoint train voting_arithmetic. README.md and docs/ say more.",
)
for commands in (run_commands, study_commands, help_commands):
    app.add_typer(commands.app)
app.add_typer(help_commands.init, name="init")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"counterpoint {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train multi-agent LLM workflows with reinforcement learning; see role by role why it works or falls apart."""


def main() -> None:
    """Run the command line; an error is one line on standard error and exit status 2.

    It is 75, which means that trying again later may help, if another process works on the run.
    """
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
        sys.exit(IN_USE if isinstance(error, RunInUseError) else 2)


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
