"""Judges: the ones that a recipe can name, and the user's own functions."""

from typing import Annotated

from pydantic import Field

from counterpoint.errors import ConfigError
from counterpoint.family import Family, is_own, plain
from counterpoint.judges.base import Judge, Judging
from counterpoint.judges.function.judge import FunctionJudge, is_async
from counterpoint.options import Spec, check_options

JUDGES: Family[Judging] = Family(
    "judge",
    {
        "task": "counterpoint.judges.base:Judging",
        "text": "counterpoint.judges.text:TextJudge",
        "number": "counterpoint.judges.text:NumberJudge",
        "mathematics": "counterpoint.judges.mathematics.judge:MathJudge",
    },
    takes=Judge,
)
"""The member "task" leaves every task its own judge."""


def build_judge(spec: Spec) -> Judge | None:
    """The judge that a recipe names, with its options; None for "task". No process runs yet. Raises ConfigError.

    The user's own function becomes a `FunctionJudge`. In addition to its own options it takes `seconds`, `workers` and
    `at_once`.
    """
    member = JUDGES.find(spec.name)
    if not is_own(spec.name) or isinstance(member, Judge) or (isinstance(member, type) and issubclass(member, Judge)):
        made = JUDGES.build(spec, "judge")
        return made if isinstance(made, Judge) else None
    given = spec.options
    limits = check_options("judge", _limits, {name: given.pop(name) for name in _LIMITS if name in given})
    call = JUDGES.bind(Spec(name=spec.name, **given), where="judge")
    options = getattr(call, "keywords", {})
    reserved = [name for name in _LIMITS if name in options]
    if reserved:
        raise ConfigError(
            f"judge {spec.name!r} has an option {reserved[0]!r}, but {', '.join(_LIMITS)} are the limits of its process"
        )
    if not is_async(member) and limits["at_once"] is not None:
        raise ConfigError(f"judge.at_once is for async functions; {spec.name!r} is a plain one: judge.workers is")
    at_once = (limits["at_once"] or _AT_ONCE) if is_async(member) else 1
    workers = limits["workers"] or (1 if is_async(member) else _WORKERS)
    return FunctionJudge(
        plain(spec.name), [member], options, seconds=limits["seconds"], workers=workers, at_once=at_once
    )


_LIMITS = ("seconds", "workers", "at_once")
_WORKERS = 2
_AT_ONCE = 32


def _limits(
    *,
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0,
    workers: Annotated[int, Field(ge=1, le=256)] | None = None,
    at_once: Annotated[int, Field(ge=2, le=1024)] | None = None,
) -> None:
    """The options that the user's own functions have in addition to theirs."""
