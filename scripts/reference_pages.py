"""The pages of the site that are generated from the package: recipe, families, command line, exceptions and API."""

import importlib
import inspect
import pkgutil
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

import counterpoint
from counterpoint import errors
from counterpoint.cli.main import app
from counterpoint.config import Config
from counterpoint.family import Family
from counterpoint.reference import FAMILIES as RECIPE_FAMILIES
from counterpoint.reference import Entry, Member, entries, every_entry, members, section_text, sections

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
    "trackers": "`track`: where a run's numbers are sent while it trains.",
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
        path.write_text(text, encoding="utf-8")


def version(root: Path) -> str:
    """The version of the package, from `pyproject.toml`."""
    return str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


# ---- the recipe


def _recipe() -> str:
    head = (
        "# Recipe reference\n\nA recipe is a TOML file. This page lists every key that it may have, with its type, its"
        " default and its allowed range. On the command line a key is written with its section, such as"
        " `policies.rank=8`. A key that is left out has the default given here; `config.toml` of a run holds all of"
        " them. `counterpoint explain KEY` prints the same in a terminal. The members of each family, with their"
        " options, are on [their own page](families.md).\n"
    )
    top = [every_entry()["preset"], *entries("", Config)]
    parts = [head, "## Top level\n\n" + _keys([one for one in top if one.name != "policy"])]
    for name, section in sections().items():
        if name == "policy.NAME.endpoint":
            parts.append(_policy_table())
        parts.append(f"## `[{name}]`\n\n{section_text(section)}\n\n{_keys(entries(name, section))}")
    return "\n".join(parts)


def _policy_table() -> str:
    return (
        f"## `[policy.NAME]`\n\n{every_entry()['policy'].meaning}\n\nEvery key of `[policies]` except `sharing` is"
        " allowed, and `model`, a table with the keys of `[model]`; what is left out is inherited.\n"
    )


def _keys(keys: list[Entry]) -> str:
    rows = []
    for one in keys:
        meaning = one.meaning or FAMILIES.get(f"{one.name.removesuffix('s')}s", "").partition(": ")[2]
        rows.append((f"`{one.name}`", one.kind, one.default, meaning[:1].upper() + meaning[1:]))
    return _table(("key", "type", "default", "meaning"), rows)


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
    tables = {constant: found for constant, found in vars(package).items() if isinstance(found, Family)}
    parts = [f"## {name.rpartition('.')[2].capitalize()}\n\n{text}\n"]
    for constant, family in tables.items():
        keys = [key for key, found in RECIPE_FAMILIES.items() if found is family]
        if not keys:
            continue
        if len(tables) > 1:
            parts.append(f"### {constant.capitalize().replace('_', ' ')}\n")
        parts += [_member(one) for one in members(keys[0])]
    return "\n".join(parts)


def _member(member: Member) -> str:
    rows = [(f"`{one.name}`", one.kind, one.default) for one in member.options]
    table = _table(("option", "type", "default"), rows)
    return f"**`{member.name}`**\n\n{_prose(member.text)}\n\n{table}"


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
