"""`counterpoint advise`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from counterpoint.cli.out import Terminal, announce, check_folder, check_out, write_out
from counterpoint.errors import ConfigError
from counterpoint.experiments.advice import Advice
from counterpoint.experiments.advice_from import advise_from
from counterpoint.experiments.advise import RUNS, Ask, InterruptedRaceError, advise
from counterpoint.experiments.cells import Study
from counterpoint.experiments.launch import launch
from counterpoint.experiments.runner import Outcome
from counterpoint.experiments.table import Shown


def race(
    recipe: str, overrides: Sequence[str], ask: Ask, arms: str | None, steps: int | None, out: Path | None
) -> None:
    """Race the arms of a recipe and print the advice; write it to `out` if given."""
    ask.check()
    check_out(out)
    check_folder(RUNS)
    console = Terminal(goes_on=True)

    def shown(study: Study, folder: Path, jobs: int, whole: Study) -> Outcome:
        with Shown(console) as table:
            return launch(study, folder, jobs=jobs, whole=whole, watcher=table)

    try:
        found = advise(
            recipe,
            *overrides,
            minutes=ask.minutes,
            arms=arms,
            margin=ask.margin,
            steps=steps,
            more=ask.more,
            anyway=ask.anyway,
            say=announce,
            train=shown,
        )
    except InterruptedRaceError as error:
        announce(str(error))
        sys.exit(128 + error.signal)
    _tell(console, found, out)


def read(
    paths: Sequence[Path], recipe: str, overrides: Sequence[str], ask: Ask, out: Path | None, *, raced: bool
) -> None:
    """Print the advice that finished runs give; `raced` tells that an option of a race was given, too."""
    ask.check()
    if raced:
        raise ConfigError("--from answers from finished runs: --arms, --steps, --more and --anyway are for a race")
    check_out(out)
    _tell(Terminal(), advise_from(paths, ask.margin, recipe, overrides), out)


def _tell(console: Terminal, found: Advice, out: Path | None) -> None:
    for place, line in enumerate(found.lines()):
        console.print(line, markup=False, soft_wrap=True, style="bold" if place == 0 or "WARNING" in line else None)
    write_out(out, found.as_dict())
