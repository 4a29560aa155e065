"""Scores answers with the user's own Python function, in processes that can be killed."""

import asyncio
import base64
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import cloudpickle

from counterpoint.errors import ConfigError
from counterpoint.judges._process import Heard, Pool, Program
from counterpoint.judges.base import Judge
from counterpoint.task import Score, not_judged

_PROGRAM: Final = Path(__file__).with_name("worker.py")
_LIBRARY: Final = Path(__file__).parents[3]
_GRACE: Final = 10.0
"""Seconds that a process gets beyond its limit to say that a call took too long."""
_HOW: Final = "it must take (answer, key) or (answer, key, problem), and its options after a `*`"


class FunctionJudge(Judge):
    """Scores answers with the user's functions, each call bounded by `seconds` of wall clock, whatever it does.

    An answer is not judged, with the reason, if its call takes longer, raises, ends the process, or returns what is no
    score (see `counterpoint.task.as_score`). Plain functions run one call at a time in each of `workers` processes;
    async functions `at_once` calls at the same time in each. The processes have this one's environment, import paths
    and current directory; what they print goes to standard error.

    Raises ConfigError if a function cannot be called with an answer and a key, or cannot be sent to a process.
    """

    bounded: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        functions: Sequence[Callable[..., Any]],
        options: Mapping[str, Any] | None = None,
        *,
        seconds: float = 30.0,
        workers: int = 2,
        at_once: int = 1,
    ) -> None:
        self._name = name
        packed = _packed(name, functions, dict(options or {}))
        first = {"path": _paths(), "functions": packed, "seconds": seconds, "at_once": at_once}
        program = Program(
            name=name,
            file=_PROGRAM,
            patience=seconds + _GRACE,
            first=first,
            at_once=at_once,
            environment={"PYTHONHASHSEED": "0", **os.environ},
            folder=str(Path.cwd()),
            speaks=True,
        )
        self._pool = Pool(program, workers=workers)

    async def start(self) -> None:
        """A process has the functions. Raises ConfigError if it cannot import them."""
        heard = await self._asked(None)
        if heard.end:
            await self.close()
            raise ConfigError(f"judge {self._name!r} does not start in a process of its own: {heard.message}")

    async def close(self) -> None:
        """No process is left; answers that were still to be judged are not judged."""
        await asyncio.to_thread(self._pool.close)

    def facts(self) -> Mapping[str, str]:
        return {"judge": self._name}

    async def judge(self, answer: str, key: str) -> Score:
        return await self.score(0, "", answer, key)

    def for_problem(self, problem: str) -> Callable[[str, str], Awaitable[Score]]:
        return partial(self.score, 0, problem)

    async def score(self, which: int, problem: str, answer: str, key: str) -> Score:
        """The score by one of the functions, of an answer to the problem with that text."""
        heard = await self._asked({"which": which, "problem": problem, "answer": answer, "key": key})
        match heard.end:
            case "closed":
                return not_judged(heard.message)
            case "unstarted":
                return not_judged(f"judge {self._name!r} does not start in a process of its own: {heard.message}")
            case "silent":
                return not_judged(f"{self._name} did not return and was killed: {heard.message}")
            case "ended":
                return not_judged(f"{self._name} ended its process: {heard.message}")
        (facts,) = heard.lines
        if "failed" in facts:
            return not_judged(f"{self._name} {facts['failed']}")
        reason = facts["reason"] if facts["reward"] is not None else f"{self._name} {facts['reason']}"
        return Score(reward=facts["reward"], parts=facts["parts"], reason=reason)

    async def _asked(self, question: Mapping[str, Any] | None) -> Heard:
        return await asyncio.wrap_future(self._pool.ask(question))


def is_async(function: Callable[..., Any]) -> bool:
    """True if a call of the function has to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def takes_problem(name: str, function: Callable[..., Any]) -> bool:
    """True if the function also takes the problem's text. Raises ConfigError if it does not take (answer, key)."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"judge {name!r} has no signature that can be read: {error}; {_HOW}") from error
    given = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    third = given[2].name if len(given) > 2 else None
    spread = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    required = [one for one in given[3:] if one.default is one.empty]
    if required or (len(given) < 2 and not spread) or third not in (None, "problem"):
        raise ConfigError(f"judge {name!r} takes ({', '.join(map(str, parameters))}): {_HOW}")
    return third == "problem"


def _packed(name: str, functions: Sequence[Callable[..., Any]], options: dict[str, Any]) -> str:
    """The functions as text that only a process of ours reads: importable ones by name, all others by their code."""
    calls = [(function, options, takes_problem(name, function)) for function in functions]
    try:
        return base64.b64encode(cloudpickle.dumps(calls)).decode()
    except Exception as error:  # whatever an object that the function refers to raises
        raise ConfigError(
            f"judge {name!r} cannot be sent to the process that runs it: {type(error).__name__}: {error}; it must not"
            " refer to open files, locks, models or connections: make those inside the function"
        ) from error


def _paths() -> list[str]:
    """The folders from which this process imports modules."""
    here = str(Path.cwd())
    return [*dict.fromkeys([*(place or here for place in sys.path), str(_LIBRARY)])]
