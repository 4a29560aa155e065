"""An option of a command that takes several values."""

import typer
from typer.core import TyperCommand

_FROM = "--from"


class SeveralFrom(TyperCommand):
    """A command whose option `--from` takes everything up to the next option."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """The arguments, with `--from` before each of its values."""
        spread: list[str] = []
        follows = False
        for word in args:
            if word.startswith("-"):
                follows = word == _FROM
                spread += [] if follows else [word]
            else:
                spread += [_FROM, word] if follows else [word]
        if args[-1:] == [_FROM]:
            spread.append(_FROM)
        return super().parse_args(ctx, spread)
