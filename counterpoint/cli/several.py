"""Options that take several values, up to the next option."""

import typer
from typer.core import TyperCommand

_AGAINST = "--against"


class SeveralAgainst(TyperCommand):
    """A command whose option `--against` takes everything up to the next option."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """The arguments, with `--against` before each of its values."""
        spread: list[str] = []
        open_option = False
        for word in args:
            if word.startswith("-"):
                open_option = word == _AGAINST
                spread += [] if open_option else [word]
            else:
                spread += [_AGAINST, word] if open_option else [word]
        if args[-1:] == [_AGAINST]:
            spread.append(_AGAINST)
        return super().parse_args(ctx, spread)
