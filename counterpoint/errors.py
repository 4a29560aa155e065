"""Every error of this package, one class for each boundary at which something can fail, and how a traceback is told.

CounterpointError
├── ConfigError             a recipe, an override or an option
├── TaskError               a set of tasks, or the task's own reading of an answer
├── WorkflowError           the declaration or the use of a workflow
│   ├── PromptLengthError   a prompt longer than the recipe allows
│   ├── TooManyCallsError   an episode with more calls than the recipe allows
│   └── ConversationError   a conversation that a model's chat template does not write
├── ModelError              a base model or its tokenizer
├── SamplerError            a request that a sampler cannot serve
│   └── EndpointError       a remote server that plays a policy
├── EngineError             the engine that generates replies died: this ends a run, no episode is blamed
├── LearnerError            gradients and weights
├── ProofError              a training step that did not do what it claims
├── SandboxError            the confinement of programs
├── RunError                a run directory
│   └── RunInUseError       a run on which another process works at this moment
├── AbsentError             what is not on this machine, but may be on another
│   ├── AbsentModelError    a base model or a device; also a ModelError
│   ├── AbsentDataError     a data set; also a TaskError
│   ├── AbsentPackageError  a package that is not installed; also a ConfigError
│   └── AbsentRoomError     a GPU, memory or space for shared memory that the sampler needs; also a ConfigError
└── MemberError             the code of a diagnostic or an intervention of your own
"""

import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path

MOST_FRAMES = 16
"""Frames of the user's files that a traceback shows, the first half and the last half of them."""
LONGEST_TRACEBACK = 4000
"""Characters of a traceback; what is longer loses its middle."""
_LONGEST_LINE = 160
_MOST_CAUSES = 4
_PACKAGE = Path(__file__).parent
_STANDARD_LIBRARY = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


class CounterpointError(Exception):
    """The root of the tree: its message names what is wrong and what is allowed."""


class ConfigError(CounterpointError):
    """A recipe, an override or an option names something that does not exist or is out of range."""


class TaskError(CounterpointError):
    """A set of tasks is missing, empty, malformed or overlaps with another, or a task cannot read an answer."""


class WorkflowError(CounterpointError):
    """A workflow is declared or used in a way that cannot work."""


class PromptLengthError(WorkflowError):
    """A workflow asked for a reply to a prompt that is longer than the recipe allows."""


class TooManyCallsError(WorkflowError):
    """A workflow made more calls in one episode than the recipe allows."""


class ConversationError(WorkflowError):
    """A workflow asked for a reply to a conversation that the chat template of the model refuses or shortens."""


class ModelError(CounterpointError):
    """A base model or its tokenizer cannot be found, read or used."""


class AdapterError(CounterpointError):
    """The files of an adapter are missing, damaged, or do not fit their base."""


class SamplerError(CounterpointError):
    """A sampler cannot serve a request."""


class EndpointError(SamplerError):
    """A server that plays a policy did not answer, or its answer cannot be used."""


class EngineError(CounterpointError):
    """The engine that generates replies died, for a reason that no workflow, judge or task can be blamed for.

    Its `__cause__` is the engine's own error, such as CUDA out of memory. It ends a rollout and with it a run, which
    can be resumed from its last checkpoint; it is never recorded as the failure of an episode.
    """


class LearnerError(CounterpointError):
    """A learner cannot turn samples into gradients, or gradients into weights."""


class ProofError(CounterpointError):
    """A training step did not do what it claims: the weights, the sampler and the log-probabilities disagree."""


class SandboxError(CounterpointError):
    """A sandbox cannot run programs or cannot confine them; it says nothing about a program."""


class MemberError(CounterpointError):
    """The user's own diagnostic or intervention raised an error, or returned what it may not return."""


class RunError(CounterpointError):
    """A run directory is in use, incomplete, damaged or not a run."""


class RunInUseError(RunError):
    """Another process works on the run, or creates it, at this moment."""


class AbsentError(CounterpointError):
    """A recipe is right as far as can be told, but what it names is not on this machine."""


class AbsentModelError(ModelError, AbsentError):
    """A model that is neither here nor can be downloaded, or a device that this machine does not have."""


class AbsentDataError(TaskError, AbsentError):
    """A data set that is neither here nor can be downloaded."""


class AbsentPackageError(ConfigError, AbsentError):
    """An optional package that is not installed."""


class AbsentRoomError(ConfigError, AbsentError):
    """A GPU, memory or space for shared memory that a sampler needs, and that this machine does not have."""


def unknown(kind: str, name: str, allowed: Iterable[str], meant: Sequence[str] = ()) -> str:
    """The message for a name that does not exist: the nearest one that does, and all that do.

    `meant` are the names to suggest instead, where the caller knows better which ones are near.
    """
    names = sorted(allowed)
    near = [*meant] or get_close_matches(name, names, n=1)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}allowed: {', '.join(names) or 'none yet'}"


@contextmanager
def blamed(whose: str, module: str) -> Iterator[None]:
    """An error inside becomes a MemberError that names `whose` it is, and where, if `module` is not of this package.

    Errors of this package are raised as they are.
    """
    try:
        yield
    except CounterpointError:
        raise
    except Exception as error:
        if module.partition(".")[0] == _PACKAGE.name:
            raise
        raise MemberError(f"{whose} raised {located(told(error), error)}\n{folded_traceback(error)}") from error


def told(error: BaseException) -> str:
    """The type and the message of an error, as the last line of a traceback has them, in characters of UTF-8."""
    try:
        message = str(error)
    except Exception as other:  # whatever the `__str__` of a class of the user's raises
        message = f"its message cannot be read, because that raises {type(other).__name__}"
    return writable(f"{type(error).__name__}: {message}")


def writable(text: str) -> str:
    """The text with escapes for what UTF-8 does not have, such as half a character out of a reply that is JSON."""
    return text.encode("utf-8", "backslashreplace").decode()


def located(text: str, error: BaseException) -> str:
    """The text about an error in the user's code, with a hint if an `await` seems to be missing, and its place."""
    is_unawaited = isinstance(error, TypeError | AttributeError | CounterpointError) and "coroutine" in told(error)
    hint = (
        "; is an `await` missing before the call?"
        if is_unawaited and "async" not in text and "await" not in text
        else ""
    )
    place = place_of(error)
    return text.rstrip(": ") + hint + (f" ({place})" if place else "")


def first_of(error: Exception) -> Exception:
    """The error itself; of a group, which an `asyncio.TaskGroup` raises, the first error in it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def folded_traceback(error: BaseException) -> str:
    """The traceback of an error for the person whose file raised it, without the last line (see `told`).

    Frames of the user's files are shown with file, line and source; each run of frames of this package, of other
    packages and of Python itself is one line that counts them. If no frame is the user's, the innermost is shown. Its
    causes come below, each after a line `caused by ...`. At most `LONGEST_TRACEBACK` characters.
    """
    chain = _chain(error)
    frames = [list(traceback.extract_tb(one.__traceback__)) for one in chain]
    innermost = not any(_is_own(frame) for found in frames for frame in found)
    parts = [_frames(frames[0], innermost)]
    for one, found in zip(chain[1:], frames[1:], strict=True):
        parts += [f"caused by {told(one)}".rstrip(": "), _frames(found, False)]
    return _without_middle("\n".join(part for part in parts if part))


def place_of(error: BaseException) -> str:
    """`file:line` of the innermost frame in one of the user's files, or else of its causes; empty if there is none."""
    for one in _chain(error):
        own = [frame for frame in traceback.extract_tb(one.__traceback__) if _is_own(frame)]
        if own:
            return f"{_shown_path(own[-1].filename)}:{own[-1].lineno}"
    return ""


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its causes."""
    chain = [error]
    while len(chain) <= _MOST_CAUSES and (cause := _cause(chain[-1])) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _frames(frames: list[traceback.FrameSummary], innermost: bool) -> str:
    shown = [_is_own(frame) or (innermost and frame is frames[-1]) for frame in frames]
    own = [place for place, is_shown in enumerate(shown) if is_shown]
    middle = own[MOST_FRAMES // 2 : max(MOST_FRAMES // 2, len(own) - MOST_FRAMES // 2)]
    return "\n".join(_lines(frames, shown, set(middle)))


def _lines(frames: list[traceback.FrameSummary], shown: list[bool], middle: set[int]) -> Iterator[str]:
    """The lines of a traceback: `middle` are the places of frames that would be shown if there were fewer."""
    kinds = ["left out" if place in middle else "shown" if own else "folded" for place, own in enumerate(shown)]
    for kind, run in groupby(range(len(frames)), key=lambda place: kinds[place]):
        places = list(run)
        if kind == "shown":
            for place in places:
                yield _shown(frames[place])
        elif kind == "folded":
            packages = sorted({_package(frames[place]) or "" for place in places})
            yield f"  ... {counted(len(places), 'frame')} in {', '.join(packages)}"
        else:
            yield f"  ... {counted(len(places), 'frame')} left out"


def counted(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _shown(frame: traceback.FrameSummary) -> str:
    source = (frame.line or "").strip()[:_LONGEST_LINE]
    return f'  File "{_shown_path(frame.filename)}", line {frame.lineno}, in {frame.name}' + (
        f"\n    {source}" if source else ""
    )


def _shown_path(file: str) -> str:
    """The path from the current directory where the file is below it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def _is_own(frame: traceback.FrameSummary) -> bool:
    return _package(frame) is None


def _package(frame: traceback.FrameSummary) -> str | None:
    """The package whose code a frame runs, "python" for the standard library; None for the user's own files."""
    path = Path(frame.filename)
    if frame.filename.startswith("<frozen") or (frame.filename == "<string>" and frame.name == "__init__"):
        return "python"  # the latter is what a dataclass generates
    if path.is_relative_to(_PACKAGE):
        return _PACKAGE.name
    for place, part in enumerate(path.parts):
        if part in ("site-packages", "dist-packages"):
            return Path(path.parts[place + 1]).stem if place + 1 < len(path.parts) else part
    return "python" if any(path.is_relative_to(folder) for folder in _STANDARD_LIBRARY) else None


def _without_middle(text: str) -> str:
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = (LONGEST_TRACEBACK - len("\n  ...\n")) // 2
    return f"{text[:half]}\n  ...\n{text[-half:]}"
