"""Options that take several values, up to the next option."""

import typer
from typer.core import TyperCommand


class SeveralValues(TyperCommand):
    """A command whose options that may be given several times take everything up to the next option."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """The arguments, with the name of such an option before each of its values."""
        several = {name for one in self.params if getattr(one, "multiple", False) for name in one.opts}
        spread: list[str] = []
        option = ""
        for place, word in enumerate(args):
            name, _, value = word.partition("=")
            if word == "--":
                return super().parse_args(ctx, [*spread, *args[place:]])
            if name in several:
                option = name
                if not value and (place + 1 == len(args) or args[place + 1].startswith("-")):
                    ctx.fail(f"Option '{name}' requires an argument.")
                spread += [name, value] if value else []
            elif word.startswith("-"):
                option = ""
                spread.append(word)
            else:
                spread += [option, word] if option else [word]
        return super().parse_args(ctx, spread)
