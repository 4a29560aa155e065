"""An environment of the package verifiers: its tasks as text, and its rewards of one reply.

Nothing here runs in the process of a run: the tasks are read by `worker.py`, and replies are scored where a
`FunctionJudge` calls a `Scorer`, both in processes that can be killed. The package is imported when an environment is
opened, because it takes seconds.
"""

import hashlib
import inspect
import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ConfigError, TaskError
from counterpoint.judges.verifiers.total import total
from counterpoint.task import Score, not_judged

_LOADERS: Final = "verifiers.v1.utils.loaders"
_PLAIN_HARNESS: Final = "bash"
"""The harness that verifiers gives to an environment without one of its own."""
_LONGEST: Final = 300
ALLOWED: Final = (
    "allowed are environments whose tasks are one prompt of text and one reply: a `Taskset` without tools, without an"
    " `Env` or a harness of its own, whose rewards take `task` and `trace` alone"
)


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that can be played with one reply per task."""

    name: str
    taskset: Any
    code: str
    """SHA-256 of its source, shortened."""

    @property
    def tasks(self) -> Iterator[Any]:
        return iter(self.taskset)

    @property
    def is_endless(self) -> bool:
        return not self.taskset.bounded

    def task(self, data: Mapping[str, Any]) -> Any:
        """The task with these data, which crossed a process as JSON."""
        kind = type(self.taskset).task_type()
        return kind(kind.data_type().model_validate(dict(data)), self.taskset.config.task)


def opened(name: str, args: Mapping[str, Any]) -> Environment:
    """The environment of that name, with `args` for its configuration. Raises ConfigError if it cannot be used."""
    loaders = _loaders()
    module = _module(loaders, name)
    try:
        kind = loaders.taskset_class(name)
    except (TypeError, AttributeError, ValueError) as error:
        if hasattr(module, "load_environment"):
            raise ConfigError(
                f"environment {name!r} is written for verifiers before 0.4 (`load_environment`), which is not"
                " supported: verifiers 0.4 has no such interface either; it has to export a `Taskset`"
            ) from error
        raise ConfigError(f"environment {name!r} is no taskset of verifiers: {_told(error)}") from error
    _check_players(loaders, name)
    taskset = kind(_config(loaders, name, args))
    _check(name, taskset)
    return Environment(name=name, taskset=taskset, code=_digest(module))


def rows(environment: Environment, most: int | None) -> Iterator[dict[str, Any]]:
    """One JSON object per task, at most `most`: its text and its data, or the reason why it cannot be used."""
    if environment.is_endless and most is None:
        raise ConfigError(f"environment {environment.name!r} makes tasks without end: say with task.tasks how many")
    for number, task in enumerate(islice(environment.tasks, most), start=1):
        place = f"{environment.name}, task {number}"
        try:
            yield {"place": place, **_described(environment, task)}
        except TaskError as error:
            yield {"place": place, "refused": str(error)}


def versions(name: str) -> dict[str, str]:
    """The versions of verifiers and of the environment's package, or the module's file, for a run's metadata."""
    found = {"verifiers": version("verifiers")}
    module = _plain_name(name)
    for package in (module.replace("_", "-"), module):
        try:
            return {**found, "environment": f"{module} {version(package)}"}
        except PackageNotFoundError:
            continue
    place = import_module(module).__file__
    return {**found, "environment": f"{module} of {place}, which is not copied into the run"}


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores a reply to the task whose data the key holds. It opens its environment where it is unpickled."""

    name: str
    args: str
    """JSON."""
    path: tuple[str, ...]
    """Folders from which modules are imported, besides those of the process."""
    reply: str
    """A reply, with `{answer}` where the answer stands."""
    span: tuple[float, float] | None
    """The environment's own rewards that are 0 and 1 here."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_scorer, (self.name, self.args, self.path, self.reply, self.span)

    async def __call__(self, answer: str, key: str) -> Score:
        raise NotImplementedError("a scorer scores in the process that it is sent to")


class _OpenScorer:
    def __init__(self, environment: Environment, reply: str, span: tuple[float, float] | None) -> None:
        self._environment = environment
        self._reply = reply
        self._span = span

    async def __call__(self, answer: str, key: str) -> Score:
        task = self._environment.task(json.loads(key)["data"])
        trace = _trace(task, self._reply.replace("{answer}", answer))
        try:
            await task.score(trace)
        except Exception as error:  # whatever a reward raises
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            return not_judged(f"raised {_told(cause)} ({_line(cause)})")
        rewards = {name: None if one is None else (one.score, one.weight) for name, one in trace.rewards.items()}
        return total(rewards, trace.metrics, self._span)


def _opened_scorer(
    name: str, args: str, path: Sequence[str], reply: str, span: tuple[float, float] | None
) -> _OpenScorer:
    sys.path += [place for place in path if place not in sys.path]
    return _OpenScorer(opened(name, json.loads(args)), reply, span)


def _loaders() -> Any:
    try:
        return import_module(_LOADERS)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"task 'verifiers' needs verifiers 0.4: `pip install 'counterpoint[verifiers]'` first ({error})"
        ) from error


def _module(loaders: Any, name: str) -> Any:
    try:
        return loaders.import_taskset(name)
    except ModuleNotFoundError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else error.name
        if missing in (None, _plain_name(name)):
            raise ConfigError(
                f"environment {name!r} is not installed: install the package that has the module {_plain_name(name)!r},"
                f" or start in the folder of {_plain_name(name)}.py"
            ) from error
        raise ConfigError(f"environment {name!r} needs the module {missing!r}, which is not installed") from error
    except Exception as error:  # whatever the module raises when it is imported
        raise ConfigError(f"environment {name!r} cannot be imported: {_told(error)} ({_line(error)})") from error


def _config(loaders: Any, name: str, args: Mapping[str, Any]) -> Any:
    kind = loaders.taskset_config_type(name)
    allowed = sorted(set(kind.model_fields) - {"id"})
    unknown = next((one for one in args if one not in allowed), None)
    if unknown is not None:
        raise ConfigError(f"task.args: environment {name!r} has no argument {unknown!r}; allowed: {', '.join(allowed)}")
    try:
        return kind.model_validate({"id": name, **args})
    except Exception as error:  # of pydantic, or of a validator of the environment's
        raise ConfigError(f"task.args of environment {name!r}: {' '.join(str(error).split())[:_LONGEST]}") from error


def _check_players(loaders: Any, name: str) -> None:
    """Raises ConfigError if others than one agent without a program of its own play the environment."""
    env = loaders.environment_class(name)
    several = f"is played by an `Env` of its own, {env.__name__}, in several turns or by several agents"
    _refuse(
        name,
        {
            several: env is not loaders.SingleAgentEnv,
            "has a harness of its own": loaders.default_harness_id(name) != _PLAIN_HARNESS,
        },
    )


def _check(name: str, taskset: Any) -> None:
    """Raises ConfigError unless one reply of text is all that a task of the environment takes."""
    base = import_module("verifiers.v1.task").Task
    kind, config = type(taskset).task_type(), taskset.config
    reasons = {
        "gives tools to the model": bool(type(taskset).toolsets(config) or kind.toolsets(config.task)),
        "needs a container": kind.NEEDS_CONTAINER,
        "prepares or reads a runtime (`setup` or `finalize`)": (
            kind.setup is not base.setup or kind.finalize is not base.finalize
        ),
        "asks a model to judge (`judges` of its task configuration)": bool(config.task.judges),
    }
    _refuse(name, reasons)


def _refuse(name: str, reasons: Mapping[str, bool]) -> None:
    """Raises ConfigError with the first reason that holds, if any does."""
    reason = next((text for text, holds in reasons.items() if holds), None)
    if reason is not None:
        raise ConfigError(f"environment {name!r} {reason}, which is not supported; {ALLOWED}")


def _described(environment: Environment, task: Any) -> dict[str, Any]:
    data = task.data
    if data.image or data.skills or data.artifacts:
        raise TaskError("it needs an image, skills or artifacts in a container")
    _check_rewards(task)
    crossed = json.loads(data.model_dump_json())
    if environment.task(crossed).data != data:
        raise TaskError("its data do not stay the same as JSON")
    answer = getattr(data, "answer", None)
    return {
        "text": _text(data.prompt, data.system_prompt),
        "data": crossed,
        "answer": str(answer) if isinstance(answer, str | int | float) else None,
        "weights": {fn.__name__: float(getattr(fn, "_vf_weight", 1.0)) for fn in task.hooks("reward")},
    }


def _check_rewards(task: Any) -> None:
    if import_module("verifiers.v1.utils.decorators").discover_decorated(task, "intercept"):
        raise TaskError("it changes requests or replies on their way")
    for fn in (*task.hooks("reward"), *task.hooks("metric")):
        wanted = inspect.signature(fn).parameters.values()
        other = [one.name for one in wanted if one.default is one.empty and one.name not in ("task", "trace")]
        if other:
            raise TaskError(f"its reward or metric {fn.__name__!r} takes {other[0]!r}, which one reply does not have")


def _text(prompt: Any, system: str | None) -> str:
    """The prompt as one text. Raises TaskError if there is none, or it holds anything else than text."""
    if prompt is None:
        raise TaskError("it has no prompt: the environment opens the conversation in other ways")
    turns = [("user", prompt)] if isinstance(prompt, str) else [(one.role, one.content) for one in prompt]
    strange = next((role for role, _ in turns if role not in ("system", "user", "assistant")), None)
    if strange is not None:
        raise TaskError(f"its prompt has a message of role {strange!r}")
    if not turns or turns[-1][0] != "user":
        raise TaskError("its prompt does not end with a message of the user")
    return written(turns if system is None else [("system", system), *(turn for turn in turns if turn[0] != "system")])


def written(turns: Sequence[tuple[str, Any]]) -> str:
    """A conversation as one text: one question as it is, earlier questions and replies under their names.

    Raises TaskError if a message holds anything else than text, or nothing at all.
    """
    texts = [(role, _content(content)) for role, content in turns]
    if not texts[-1][1].strip():
        raise TaskError("its prompt is empty")
    begin = [text for role, text in texts if role == "system"]
    rest = [(role, text) for role, text in texts if role != "system"]
    if len(rest) == 1:
        return "\n\n".join([*begin, rest[0][1]])
    names = {"user": "Question", "assistant": "Reply"}
    return "\n\n".join([*begin, *(f"{names[role]}: {text}" for role, text in rest)])


def _content(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    kinds = [getattr(part, "type", "") for part in content]
    other = next((kind for kind in kinds if kind != "text"), None)
    if other is not None:
        raise TaskError(f"its prompt has a part of type {other!r}; only text is supported")
    return "\n".join(part.text for part in content)


def _trace(task: Any, reply: str) -> Any:
    """The trace that verifiers would have recorded of one reply to the prompt of the task."""
    vf = import_module("verifiers.v1")
    data = task.data
    messages = [vf.UserMessage(content=data.prompt)] if isinstance(data.prompt, str) else [*data.prompt]
    if data.system_prompt is not None:
        messages = [vf.SystemMessage(content=data.system_prompt), *(one for one in messages if one.role != "system")]
    messages.append(vf.AssistantMessage(content=reply))
    trace = vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=data, key=task.key, hash=task.hash),
        state=import_module("verifiers.v1.state").state_cls(type(task))(),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
    )
    trace.nodes = [
        vf.MessageNode(parent=place - 1 if place else None, message=one, sampled=place == len(messages) - 1)
        for place, one in enumerate(messages)
    ]
    trace.stop("agent_completed")
    return trace


def _plain_name(name: str) -> str:
    return name.rsplit("/", 1)[-1].split("@", 1)[0].replace("-", "_").lower()


def _digest(module: Any) -> str:
    """The digest of the source files of the environment's package, or of its one file."""
    place = Path(module.__file__ or "")
    files = sorted(place.parent.rglob("*.py")) if place.name == "__init__.py" else [place]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(place.parent).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]


def _line(error: BaseException) -> str:
    """File and line where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "no line is known"
