"""What can go wrong, by the boundary at which it went wrong."""

from collections.abc import Iterable
from difflib import get_close_matches


class CounterpointError(Exception):
    """The root: its message says what is wrong and what is allowed."""


class ConfigError(CounterpointError):
    """A recipe, an override or an option names something that does not exist or is out of range."""


class TaskError(CounterpointError):
    """A set of tasks is missing, empty, malformed, or overlaps with another."""


class WorkflowError(CounterpointError):
    """A workflow is declared or used in a way that cannot work."""


class PromptLengthError(WorkflowError):
    """A workflow asked with a prompt that is longer than the recipe allows."""


class ModelError(CounterpointError):
    """A base model or its tokenizer cannot be found, read or used."""


class AdapterError(CounterpointError):
    """The files of an adapter are missing, damaged, or do not fit their base."""


class SamplerError(CounterpointError):
    """A sampler cannot give a completion for what it was asked."""


class EndpointError(SamplerError):
    """A server that plays a policy did not answer, or not in a way that can be used."""


class LearnerError(CounterpointError):
    """A learner cannot turn samples into gradients, or gradients into weights."""


class ProofError(CounterpointError):
    """A step did not do what it claims: the weights, the sampler and the log-probabilities disagree."""


class SandboxError(CounterpointError):
    """A sandbox cannot run or cannot confine programs; it says nothing about a program."""


class RunError(CounterpointError):
    """A run directory is in use, incomplete, damaged or not a run."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The message for a name that does not exist: the nearest one that does, and all that do."""
    names = sorted(allowed)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}allowed: {', '.join(names) or 'none yet'}"
