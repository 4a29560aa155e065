"""`counterpoint explain`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from textwrap import fill, indent

from rich.console import Console

from counterpoint.cli.out import Terminal
from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.options import ALIASES
from counterpoint.presets import PRESETS, preset_text
from counterpoint.reference import (
    FAMILIES,
    Entry,
    Member,
    entries,
    every_entry,
    members,
    section_text,
    sections,
)

_NEAR = 0.7
"""The similarity from which on a name is suggested: many names are searched."""


def explain_name(name: str) -> None:
    """Print the type, default, allowed values and meaning of a key, a section, or a member of a family.

    Without a name, print every section. Raises ConfigError, which suggests the nearest name, if there is none.
    """
    console = Terminal()
    name = name.strip("[]").partition("=")[0]
    if not name:
        _print_overview(console)
        return
    found = [*_as_key(name), *_as_member(name), *_as_preset(name)] or [*_as_last_part(name)]
    if not found:
        raise ConfigError(_unknown(name))
    for place, one in enumerate(found):
        if place:
            console.print()
        _print(console, one)


def _as_key(name: str) -> Iterator["Entry | str"]:
    """The key or the section with this whole name."""
    place = _in_general(name)
    if place in every_entry():
        yield every_entry()[place]
    elif place in sections():
        yield place


def _in_general(name: str) -> str:
    """`policies.rank` of `policy.solver.rank`: what a key of a single policy is a key of."""
    parts = name.split(".")
    if parts[0] != "policy" or len(parts) < 3:
        return name
    if parts[2] == "endpoint":
        return ".".join(["policy.NAME", *parts[2:]])
    return ".".join(parts[2:] if parts[2] == "model" else ["policies", *parts[2:]])


def _as_member(name: str) -> Iterator[Member]:
    """The members with this name, alone or after the key of their family; for an option, those that have it."""
    for key in FAMILIES:
        for one in members(key):
            if name in (one.name, f"{key}.{one.name}"):
                yield one
            for option in one.options:
                if name in (f"{key}.{option.name}", f"{key}.{one.name}.{option.name}"):
                    yield replace(one, text=one.text.partition("\n\n")[0], options=(option,))


def _as_preset(name: str) -> Iterator[str]:
    if name in PRESETS:
        yield f"preset {name}"


def _as_last_part(name: str) -> Iterator[Entry]:
    """The keys that end in this name, and the one that other libraries call so."""
    for entry in every_entry().values():
        if entry.name.rpartition(".")[2] == name or entry.name in ALIASES.get(name, ()):
            yield entry


def _unknown(name: str) -> str:
    names = [*every_entry(), *sections(), *PRESETS, *(one.name for key in FAMILIES for one in members(key))]
    last = {one.rpartition(".")[2]: one for one in reversed(names)}
    near = get_close_matches(name, names, n=1, cutoff=_NEAR) or [
        last[one] for one in get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=_NEAR)
    ]
    hint = f"did you mean {near[0]!r}? " if near else ""
    metrics = "; docs/metrics.md defines the metrics" if "/" in name else ""
    return f"there is no key, section or member {name!r}; {hint}`counterpoint explain` lists the sections{metrics}"


def _print_overview(console: Console) -> None:
    console.print("keys at the top level", style="bold")
    _print_rows(console, [(one.name, one.meaning) for one in _top_level()])
    console.print("\nsections", style="bold")
    _print_rows(console, [(f"[{name}]", section_text(section)) for name, section in sections().items()])
    console.print(
        "\nmore: counterpoint explain SECTION, such as rollout; KEY, such as run.steps; or MEMBER, such as grpo",
        markup=False,
        soft_wrap=True,
    )


def _top_level() -> list[Entry]:
    return [every_entry()["preset"], *entries("", Config)]


def _print(console: Console, found: "Entry | Member | str") -> None:
    if isinstance(found, Member):
        _print_member(console, found)
    elif isinstance(found, Entry):
        _print_entry(console, found)
    elif found.startswith("preset "):
        console.print(found, style="bold")
        _print_text(console, preset_text(found.removeprefix("preset ")).strip(), 4, wrap=False)
    else:
        _print_section(console, found)


def _print_section(console: Console, name: str) -> None:
    section = sections()[name]
    console.print(f"[{name}]", style="bold", markup=False)
    _print_text(console, section_text(section), 4)
    for entry in entries(name, section):
        console.print()
        _print_entry(console, entry)
    inner = [other for other in sections() if other.startswith(f"{name}.")]
    if inner:
        console.print(f"\nsections in it: {', '.join(inner)}", markup=False, soft_wrap=True)


def _print_entry(console: Console, entry: Entry) -> None:
    console.print(entry.name, style="bold", end="")
    console.print(f"  {_facts(entry)}", markup=False, soft_wrap=True)
    _print_text(console, entry.meaning, 4)
    if entry.name in FAMILIES:
        _print_text(console, "members:", 4)
        _print_rows(console, [(one.name, _first_sentence(one)) for one in members(entry.name)], left=6)


def _print_member(console: Console, member: Member) -> None:
    console.print(f"{member.key} = {member.name}", style="bold", markup=False)
    for place, paragraph in enumerate(member.text.split("\n\n")):
        if place:
            console.print()
        is_list = "\n" in paragraph and all(" = " in line for line in paragraph.split("\n"))
        _print_text(console, paragraph, 4, wrap=not is_list)
    for option in member.options:
        console.print(f"      {member.key}.{option.name}  {_facts(option)}", markup=False, soft_wrap=True)


def _facts(entry: Entry) -> str:
    """Its type, its range, and its default."""
    default = entry.default if entry.default == "required" else f"default {entry.default}"
    return f"({entry.kind}; {default})".replace("`", "")


def _first_sentence(member: Member) -> str:
    text = " ".join(member.text.partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".")


def _print_rows(console: Console, rows: Sequence[tuple[str, str]], left: int = 2) -> None:
    """Names and meanings in two columns."""
    width = max(len(name) for name, _ in rows) + 2
    for name, meaning in rows:
        lines = fill(" ".join(meaning.split()), max(30, console.width - left - width))
        text = indent(lines, " " * (left + width)).lstrip()
        console.print(f"{' ' * left}{name.ljust(width)}{text}".rstrip(), markup=False, soft_wrap=True)


def _print_text(console: Console, text: str, left: int, *, wrap: bool = True) -> None:
    lines = fill(" ".join(text.split()), max(40, console.width - left)) if wrap else text
    console.print(indent(lines, " " * left), markup=False, soft_wrap=True)
