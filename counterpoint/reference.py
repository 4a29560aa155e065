"""Every recipe key and every member of every family, with type, default, allowed values and meaning.

It is read from the declarations themselves: the docstrings of the sections, and the signatures and docstrings of the
members. Text is Markdown: code stands between backticks.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from counterpoint import algorithms
from counterpoint.analysis.signatures import SIGNATURES
from counterpoint.config import Config, EndpointConfig
from counterpoint.diagnostics import DIAGNOSTICS
from counterpoint.family import Family
from counterpoint.interventions import INTERVENTIONS
from counterpoint.judges import JUDGES
from counterpoint.options import Section, Spec, declared_options
from counterpoint.presets import PRESETS
from counterpoint.presets.algorithms import ALGORITHMS
from counterpoint.runtimes import RUNTIMES
from counterpoint.samplers import SAMPLERS
from counterpoint.sandboxes import SANDBOXES
from counterpoint.tasks import TASKS
from counterpoint.trackers import TRACKERS
from counterpoint.workflows import WORKFLOWS
from counterpoint.workflows.base import Workflow

FAMILIES: Mapping[str, Family[Any]] = {
    "task": TASKS,
    "judge": JUDGES,
    "sandbox": SANDBOXES,
    "workflow": WORKFLOWS,
    "algorithm": ALGORITHMS,
    "algorithm.credit": algorithms.CREDITS,
    "algorithm.advantage": algorithms.ADVANTAGES,
    "algorithm.loss": algorithms.LOSSES,
    "algorithm.aggregation": algorithms.AGGREGATIONS,
    "algorithm.correction": algorithms.CORRECTIONS,
    "algorithm.kl": algorithms.KLS,
    "algorithm.overlong": algorithms.OVERLONG,
    "sampler": SAMPLERS,
    "runtime": RUNTIMES,
    "diagnostics": DIAGNOSTICS,
    "interventions": INTERVENTIONS,
    "signatures": SIGNATURES,
    "track": TRACKERS,
}
"""Recipe key -> the family whose members it names."""
_GIVEN: Mapping[str, frozenset[str]] = {
    "task": frozenset({"judge", "data"}),
    "algorithm.advantage": frozenset({"baselines"}),
    "algorithm.aggregation": frozenset({"max_tokens"}),
    "algorithm.overlong": frozenset({"max_tokens"}),
}
"""Recipe key -> the parameters that the package gives to members, and that no recipe can set."""
_PRESET = (
    "Settings for a model, which the recipe starts from; the recipe's own keys count more, and those of a preset given"
    f" on the command line count more than the recipe's: {', '.join(PRESETS)}."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key of the recipe, or an option of a member."""

    name: str
    kind: str
    """Its type and its range."""
    default: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a family."""

    key: str
    """The recipe key that names it."""
    name: str
    text: str
    """Its docstring."""
    options: tuple[Entry, ...]


def sections() -> dict[str, type[BaseModel]]:
    """Name -> every section of a recipe, those within sections too; `policy.NAME` is the table of a single policy."""
    own: dict[str, type[BaseModel]] = dict(_sections(Config, ""))
    return {**own, "policy.NAME.endpoint": EndpointConfig}


def section_text(section: type[BaseModel]) -> str:
    """The first paragraph of the docstring of a section; empty if it has none."""
    own = section.__doc__ if section.__doc__ != Section.__doc__ else ""
    return " ".join(inspect.cleandoc(own or "").partition("\n\n")[0].split())


def entries(place: str, section: type[BaseModel]) -> list[Entry]:
    """The keys of a section, without those that are sections themselves."""
    own = {name: field for name, field in section.model_fields.items() if _section(field) is None}
    return [_entry(f"{place}.{name}" if place else name, field) for name, field in own.items()]


def every_entry() -> dict[str, Entry]:
    """Name -> every key of a recipe, by section."""
    top: dict[str, type[BaseModel]] = {"": Config, **sections()}
    found = {entry.name: entry for place, section in top.items() for entry in entries(place, section)}
    return {"preset": Entry(name="preset", kind="`str`", default="none", meaning=_PRESET), **found}


def members(key: str) -> list[Member]:
    """The members of the family that a recipe key names."""
    return [_member(key, name, found) for name, found in FAMILIES[key].shipped().items()]


def _sections(section: type[BaseModel], above: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in section.model_fields.items():
        inner = _section(field)
        if inner is not None:
            yield above + name, inner
            yield from _sections(inner, f"{above}{name}.")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _entry(name: str, field: FieldInfo) -> Entry:
    kind = ", ".join(filter(None, (_kind(field.annotation), _range(field.metadata))))
    return Entry(name=name, kind=kind, default=_default(field), meaning=" ".join((field.description or "").split()))


def _member(key: str, name: str, member: Any) -> Member:
    function = member.play if isinstance(member, Workflow) else member
    text, options = inspect.getdoc(function) or "", []
    if not inspect.isclass(function) and not inspect.isroutine(function):
        text = getattr(member, "meaning", text)  # a member that is used as it is has no options
    else:
        skip = {"problem", *member.parameters} if isinstance(member, Workflow) else _GIVEN.get(key, frozenset())
        options = [
            _option(option, annotation, default)
            for option, (annotation, default) in declared_options(name, function, skip=skip).items()
            if not option.startswith("_")
        ]
    return Member(key=key, name=name, text=text, options=tuple(options))


def _option(name: str, annotation: Any, default: Any) -> Entry:
    limits = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    kind = ", ".join(filter(None, (_kind(annotation), _range(limits))))
    return Entry(name=name, kind=kind, default="required" if default is ... else _value(default), meaning="")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "required" if value is PydanticUndefined else _value(value)


def _value(value: Any) -> str:
    if isinstance(value, Spec):
        return f'`"{value.name}"`'
    if isinstance(value, list) and value and isinstance(value[0], Spec):
        return ", ".join(_value(one) for one in value)
    if value == sys.executable:
        return "the Python that runs Counterpoint"  # its place differs between the machine of the site and the reader's
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none" if value is None else f"`{value!r}`"


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if annotation is Spec:
        return "name, or table with `name` and options"
    if get_origin(annotation) is Literal:
        return " or ".join(f'`"{one}"`' for one in get_args(annotation))
    if get_origin(annotation) is list and get_args(annotation)[0] is not str:
        return f"list of {_kind(get_args(annotation)[0])}"
    others = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) in (Union, UnionType) and len(others) == 1:
        return ", ".join(filter(None, (f"{_kind(others[0])} or none", _range(get_args(others[0])[1:]))))
    text = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    return f"`{text.replace('typing.', '').replace('collections.abc.', '')}`"


def _range(metadata: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "pattern": "matches"}
    found = []
    for one in metadata:
        for part in [one, *getattr(one, "metadata", [])]:
            found += [
                f"{sign} {getattr(part, name)}"
                for name, sign in signs.items()
                if getattr(part, name, None) is not None and not callable(getattr(part, name))
            ]
    return ", ".join(found)
