"""The pages of the site that are generated from the package: recipe, families, command line, exceptions and API."""

import importlib
import inspect
import pkgutil
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import counterpoint
from counterpoint import errors
from counterpoint.cli.main import app
from counterpoint.config import Config, Section, Spec
from counterpoint.family import Family
from counterpoint.workflows.base import Workflow

VERBS = ("training", "act", "learn", "play", "rollout", "evaluation", "evaluate", "proof", "serve", "controls")
"""Modules of the package that do something; every other public module is a noun."""
FAMILIES = {
    "tasks": "`task`: where problems come from.",
    "judges": "Judges: who decides whether an answer is right.",
    "sandboxes": "`sandbox`: where the programs of code tasks run.",
    "workflows": "`workflow`: which roles there are, and who is asked what.",
    "algorithms": "`algorithm`: from the rewards of a step to the losses of the policies.",
    "samplers": "`sampler`: where completions come from.",
    "learners": "Learners: from samples to gradients and new weights.",
    "runtimes": "`runtime`: where sampler and learner live.",
    "diagnostics": "`diagnostics`: numbers taken in each step, without changing it.",
    "interventions": "`interventions`: ways to change a step.",
    "analysis.signatures": "Failure signatures, which `counterpoint diagnose` looks for.",
}
"""Package of a family -> the key of the recipe, and what its members are."""


def write(folder: Path) -> None:
    """Writes all generated pages into `folder`, in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = {"recipe": _recipe(), "families": _families(), "cli": _command_line(), "exceptions": _exceptions()}
    for name, text in {**pages, **_api()}.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def version(root: Path) -> str:
    """The version of the package, from `pyproject.toml`."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


# ---- the recipe


def _recipe() -> str:
    head = (
        "# Recipe reference\n\nA recipe is a TOML file. This page lists every key that it may have, with its type, its"
        " default and its allowed range. On the command line a key is written with its section, such as"
        " `policies.rank=8`. A key that is left out has the default given here; `config.toml` of a run holds all of"
        " them. The members of each family, with their options, are on [their own page](families.md).\n"
    )
    own = {name: field for name, field in Config.model_fields.items() if _section(field) is None and name != "policy"}
    parts = [head, "## Top level\n\n" + _keys("", own)]
    for name, field in Config.model_fields.items():
        section = _section(field)
        if section is not None:
            parts += _tables(name, section)
    parts.append(_policy_table())
    return "\n".join(parts)


def _tables(name: str, section: type[BaseModel]) -> Iterator[str]:
    """The table of a section, then those of the sections in it."""
    inner = {key: found for key, field in section.model_fields.items() if (found := _section(field)) is not None}
    own = {key: field for key, field in section.model_fields.items() if key not in inner}
    text = _sentence(inspect.getdoc(section)) if section.__doc__ and section.__doc__ != Section.__doc__ else ""
    yield f"## `[{name}]`\n\n{text}\n\n{_keys(name, own)}"
    for key, found in inner.items():
        yield from _tables(f"{name}.{key}", found)


def _policy_table() -> str:
    description = Config.model_fields["policy"].description or ""
    endpoint = importlib.import_module("counterpoint.config").EndpointConfig
    intro = (
        f"## `[policy.NAME]`\n\n{description}\n\nEvery key of `[policies]` except `sharing` is allowed, and"
        " `model`, a table with the keys of `[model]`; what is left out is inherited.\n\n"
        f"## `[policy.NAME.endpoint]`\n\n{_sentence(inspect.getdoc(endpoint))}\n\n"
    )
    return intro + _keys("policy.NAME.endpoint", endpoint.model_fields)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _keys(place: str, fields: Mapping[str, FieldInfo]) -> str:
    rows = []
    for name, field in fields.items():
        key = f"{place}.{name}" if place else name
        kind = ", ".join(filter(None, (_kind(field.annotation), _range(field.metadata))))
        meaning = field.description or FAMILIES.get(f"{name.removesuffix('s')}s", "").partition(": ")[2]
        rows.append((f"`{key}`", kind, _default(field), meaning[:1].upper() + meaning[1:]))
    return _table(("key", "type", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "required" if value is PydanticUndefined else _value(value)


def _value(value: Any) -> str:
    if isinstance(value, Spec):
        return f'`"{value.name}"`'
    if isinstance(value, list) and value and isinstance(value[0], Spec):
        return ", ".join(_value(one) for one in value)
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


# ---- families


def _families() -> str:
    head = (
        "# Families\n\nA recipe names members of families. A bare string is a name; a table has the name and options,"
        ' such as `advantage = { name = "grouped", by = ["task", "role"] }`. An option that is left out has its'
        " default. Your own members are named `module:name`.\n"
    )
    return "\n".join([head, *(_family(name, text) for name, text in FAMILIES.items())])


def _family(name: str, text: str) -> str:
    package = importlib.import_module(f"counterpoint.{name}")
    tables = {constant: members for constant, members in vars(package).items() if _is_table(constant, members)}
    parts = [f"## {name.rpartition('.')[2].capitalize()}\n\n{text}\n"]
    for constant, members in tables.items():
        if len(tables) > 1:
            parts.append(f"### {constant.capitalize().replace('_', ' ')}\n")
        parts += [_member(key, member) for key, member in _found(members).items()]
    return "\n".join(parts)


def _is_table(constant: str, members: Any) -> bool:
    if not constant.isupper() or constant.startswith("_"):
        return False
    return isinstance(members, Family) or (isinstance(members, dict) and bool(members))


def _found(members: Any) -> dict[str, Any]:
    return members.shipped() if isinstance(members, Family) else dict(members)


def _member(name: str, member: Any) -> str:
    function = member.play if isinstance(member, Workflow) else member
    skip = {"problem", *member.parameters} if isinstance(member, Workflow) else set()
    text = inspect.getdoc(function) if callable(function) else getattr(member, "meaning", "")
    if callable(function) and not inspect.isclass(function) and not inspect.isroutine(function):
        function, text = None, getattr(member, "meaning", text)
    options = _options(function, skip) if callable(function) else []
    table = _table(("option", "type", "default", "allowed"), options) if options else ""
    return f"**`{name}`**\n\n{_prose(text)}\n\n{table}"


def _options(function: Any, skip: set[str]) -> list[tuple[str, ...]]:
    rows = []
    for name, one in inspect.signature(function, eval_str=True).parameters.items():
        if one.kind is not one.KEYWORD_ONLY or name in skip or name.startswith("_"):
            continue
        metadata = get_args(one.annotation)[1:] if get_origin(one.annotation) is Annotated else ()
        default = "required" if one.default is one.empty else _value(one.default)
        rows.append((f"`{name}`", _kind(one.annotation), default, _range(metadata)))
    return rows


# ---- command line


def _command_line() -> str:
    head = (
        "# Command line\n\nEvery command of `counterpoint`. An error is one line on standard error, with exit status"
        " 2. `counterpoint COMMAND --help` prints the same in a terminal.\n"
    )
    return "\n".join([head, *_commands(typer.main.get_command(app), "counterpoint")])


def _commands(command: Any, path: str) -> Iterator[str]:
    for name, one in getattr(command, "commands", {}).items():
        if getattr(one, "hidden", False):
            continue
        if getattr(one, "commands", None):
            yield from _commands(one, f"{path} {name}")
            continue
        given = [f"{option.metavar or option.name.upper()}" for option in one.params if not _is_option(option)]
        usage = " ".join([path, name, *given, "[OPTIONS]"])
        rows = [_parameter(option) for option in one.params if option.name != "help"]
        table = _table(("argument or option", "default", "meaning"), rows)
        yield f"## `{path} {name}`\n\n```text\n{usage}\n```\n\n{_prose(one.help or '')}\n\n{table}"


def _is_option(parameter: Any) -> bool:
    return parameter.param_type_name == "option"


def _parameter(one: Any) -> tuple[str, str, str]:
    name = ", ".join(one.opts) if _is_option(one) else str(one.metavar or one.name.upper())
    if _is_option(one) and one.metavar:
        name += f" {one.metavar}"
    default = one.default if isinstance(one.default, str | int | float | Path) else None
    if one.required:
        shown = "required"
    elif default is None or default is False:
        shown = ""
    else:
        shown = f"`{default}`"
    return f"`{name}`", shown, getattr(one, "help", None) or ""


# ---- exceptions


def _exceptions() -> str:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    root = errors.CounterpointError
    head = (
        "# Exceptions\n\nEvery error that Counterpoint raises by intention descends from `CounterpointError`, so one"
        " `except` catches all of them. The message is one line that says what is wrong and what is allowed.\n\n"
    )
    tree = "```text\n" + "\n".join(_branch(root, kinds, 0)) + "\n```\n"
    rows = [(f"`{kind.__name__}`", _sentence(inspect.getdoc(kind))) for kind in kinds]
    return head + tree + "\n" + _table(("exception", "meaning"), rows)


def _branch(kind: type, kinds: list[type], depth: int) -> Iterator[str]:
    yield "    " * depth + kind.__name__
    for one in kinds:
        if kind in one.__bases__:
            yield from _branch(one, kinds, depth + 1)


# ---- Python API


def _api() -> dict[str, str]:
    """Page -> text; `api/index` lists the modules, each of which has a page."""
    modules = {
        "Verbs": [name for name in _public_modules() if name in VERBS],
        "Nouns": [name for name in _public_modules() if name not in VERBS],
        "What a member of a family must be": [
            f"{name}.base" for name in FAMILIES if importlib.util.find_spec(f"counterpoint.{name}.base")
        ],
        "Analysis": [f"analysis.{one.name}" for one in _inside("counterpoint.analysis") if not one.ispkg],
        "Tests for your own members": [
            f"testing.{one.name}" for one in _inside("counterpoint.testing") if one.name.endswith("conformance")
        ],
    }
    index = [
        "# Python API\n\nGenerated from the docstrings. Names that begin with an underscore are not part of the"
        " interface.\n",
        _front_door(),
    ]
    pages = {}
    for title, names in modules.items():
        rows = [(f"[`counterpoint.{name}`]({name}.md)", _first(f"counterpoint.{name}")) for name in names]
        listed = "\n".join(names)
        index.append(
            f"## {title}\n\n{_table(('module', 'contents'), rows)}\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
        )
        pages |= {f"api/{name}": _module_page(f"counterpoint.{name}") for name in names}
    return {"api/index": "\n".join(index), **pages}


def _front_door() -> str:
    """The public names of `import counterpoint`, each with where it is defined."""
    names = getattr(counterpoint, "__all__", ())
    if not names:
        return ""
    rows = [(f"`counterpoint.{name}`", _sentence(inspect.getdoc(getattr(counterpoint, name)))) for name in names]
    return "## Names of `import counterpoint`\n\n" + _table(("name", "meaning"), rows)


def _public_modules() -> list[str]:
    return [one.name for one in _inside("counterpoint") if not one.ispkg]


def _inside(package: str) -> list[pkgutil.ModuleInfo]:
    path = importlib.import_module(package).__path__
    return [one for one in pkgutil.iter_modules(path) if not one.name.startswith("_")]


def _module_page(module: str) -> str:
    return f"# `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n"


def _first(module: str) -> str:
    found: ModuleType = importlib.import_module(module)
    return _sentence(inspect.getdoc(found))


# ---- Markdown


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table without its empty columns."""
    if not rows:
        return ""
    columns = [index for index in range(len(head)) if any(row[index] for row in rows)]
    lines = [[head[index] for index in columns], ["---"] * len(columns)]
    lines += [[_cell(row[index]) for index in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def _sentence(text: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def _prose(text: str | None) -> str:
    """A docstring as Markdown: its lines kept where they are a list of formulas."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(
        f"```text\n{one}\n```" if one.count("\n") and all(" = " in line for line in one.split("\n")) else one
        for one in paragraphs
    )
