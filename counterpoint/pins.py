"""A run pins its experiment: its recipe by a digest, and the user's own modules by a copy in the run directory.

A finished or moved run is executed from what it was trained with. Before a run is resumed, a recipe or a module that
has changed is refused, unless the change is accepted; then it is recorded with the step from which the run goes on.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from counterpoint.config import Config
from counterpoint.errors import ConfigError, RunError
from counterpoint.family import is_own, look_in, parts_of, sources_of, within
from counterpoint.files import command
from counterpoint.options import Spec
from counterpoint.own_modules import Source, closure, root_of
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.run_files import CONFIG, SOURCES

_LOG = logging.getLogger(__name__)
_logged: set[str] = set()
"""The lines about own copies that this process has logged: each is logged once."""
_OBJECTS = "given-objects"
"""The folder, below that of the copies, of the sources of objects that were passed from Python."""
_ACCEPT = "--accept-changes (accept_changes=True in Python)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A module or an object as the run was trained with it."""

    file: str
    """The file that it came from; empty for an object that was passed from Python."""
    sha256: str
    copy: str
    """Its copy, as a path below `sources/`; empty for a module of an installed package."""


def own_names(config: Config) -> list[str]:
    """The name of each member written by the user that the recipe names, once."""
    named = [name for spec in _specs(config) for name in (spec.name, spec.options.get("read"))]
    names = dict.fromkeys([*named, config.algorithm.name])
    return [name for name in names if isinstance(name, str) and is_own(name)]


def sources(config: Config) -> dict[str, Source]:
    """Module -> source, for each member written by the user that the recipe names, and for what it imports.

    Raises ConfigError if a member cannot be imported.
    """
    return {module: source for name in own_names(config) for module, source in sources_of(name).items()}


def facts_of(found: Mapping[str, Source]) -> dict[str, Any]:
    """The entry of `run.json` about the sources; empty if there are none."""
    table = {module: asdict(pinned) for module, pinned in _pinned(found).items()}
    return {"sources": table} if table else {}


def copies_of(found: Mapping[str, Source]) -> dict[str, bytes]:
    """Path below `sources/` -> text of every copy."""
    return {pinned.copy: found[module].text for module, pinned in _pinned(found).items() if pinned.copy}


def bound(run: Run) -> Config:
    """The recipe of a run, whose own members are those that it was trained with.

    They are executed from the files that they came from while all of these are unchanged, else from the run's copies.
    """
    known = pins_of(run)
    if not known:
        _look_where_older_versions_say(run)
        return run.config
    root = str(_root(run, known) or "")
    kept = {module for module, pinned in known.items() if pinned.copy and pinned.file}
    return config_from(_within(run.config.model_dump(exclude_none=True), root, kept)) if kept else run.config


def executed(run: Run) -> Config:
    """The recipe of a run as `bound` gives it; a warning names the run's own copies if they are what is executed.

    Raises RunError if one of these is not what the run was trained with.
    """
    line = own_copies(run)
    if line is not None:
        _check_copies(run)
        if line not in _logged:
            _LOG.warning(line)
            _logged.add(line)
    return bound(run)


def own_copies(run: Run) -> str | None:
    """One line that says which of the run's own copies are executed, and why; None if its originals are."""
    known = pins_of(run)
    kept = [pinned for pinned in known.values() if pinned.file and pinned.copy]
    if not kept or _root(run, known) != _folder(run):
        return None
    copies = ", ".join(pinned.copy for pinned in kept)
    reasons = [f"{pinned.file} {_state(pinned)}" for pinned in kept if _state(pinned)]
    why = f" ({', '.join(reasons)})" if reasons else ""
    return f"code of {run.path / SOURCES} is executed: {copies}{why}"


def pins_of(run: Run) -> dict[str, Pinned]:
    """Module, or name of an object -> how the run was trained with it."""
    found = run.facts.get("sources", {})
    return {module: Pinned(**entry) for module, entry in found.items() if "copy" in entry}


def check_unchanged(run: Run, *, accept: bool, step: int) -> None:
    """The recipe and the sources are those that the run was trained with up to `step`.

    With `accept` a change is recorded in `run.json`, and the run has a copy of the new source beside the old one. Else
    RunError names the changed file and what to do.
    """
    _check_recipe(run, accept=accept, step=step)
    known = pins_of(run)
    now = _sources_now(run, known)
    changed = [module for module, source in now.items() if module in known and source.sha256 != known[module].sha256]
    if changed and not accept:
        pinned = known[changed[0]]
        copy = f" ({run.path / SOURCES / pinned.copy} is how it was)" if pinned.copy else ""
        raise RunError(
            f"{pinned.file or changed[0]} has changed since {run.path} was trained with it: undo the change{copy}, or"
            f" resume with {_ACCEPT}"
        )
    if changed:
        _accept(run, known, {**now, **_imported_now(run, known)}, changed, step)


def changed_rows(run: Run, step: int, what: str, before: object, after: object) -> list[dict[str, Any]]:
    """The `changes` of `run.json` with one more."""
    row = {"step": step, "what": what, "before": before, "after": after}
    return [*run.facts.get("changes", []), row]


def digest_of_recipe(run: Run) -> str:
    """The SHA-256 of `config.toml` as it is now."""
    return sha256((run.path / CONFIG).read_bytes()).hexdigest()


def _check_copies(run: Run) -> None:
    for pinned in pins_of(run).values():
        copy = run.path / SOURCES / pinned.copy
        if pinned.copy and (not copy.is_file() or sha256(copy.read_bytes()).hexdigest() != pinned.sha256):
            state = "has changed since the run was trained with it" if copy.is_file() else "is missing"
            raise RunError(f"{copy} {state}: without it the run cannot be executed as it was")


def _check_recipe(run: Run, *, accept: bool, step: int) -> None:
    pinned, now = run.facts.get("config_sha256"), digest_of_recipe(run)
    if pinned is None or pinned == now:
        return
    if not accept:
        raise RunError(
            f"{run.path / CONFIG} was edited since the run began: undo that, and change what may change with"
            f" `{command('resume', run.path, 'KEY=VALUE')}`; or accept whatever was edited with {_ACCEPT}"
        )
    run.note({"config_sha256": now, "changes": changed_rows(run, step, CONFIG, pinned, now)})


def _sources_now(run: Run, known: Mapping[str, Pinned]) -> dict[str, Source]:
    """The sources that can be found where they came from; an object, if this process has it."""
    now = {}
    for module, pinned in known.items():
        if pinned.file and Path(pinned.file).is_file():
            now[module] = Source(pinned.file, Path(pinned.file).read_bytes(), is_installed=not pinned.copy)
        elif not pinned.file:
            now |= _given_now(module)
    return now


def _given_now(name: str) -> dict[str, Source]:
    try:
        return sources_of(name)
    except ConfigError:  # it was not passed again; whether it is needed, its look-up decides
        return {}


def _imported_now(run: Run, known: Mapping[str, Pinned]) -> dict[str, Source]:
    """The modules that the user's members import from the files that are there now."""
    roots = list(dict.fromkeys(str(root_of(module, one.file)) for module, one in known.items() if one.file))
    modules = {parts_of(name)[1] for name in own_names(run.config)}
    found: dict[str, Source] = {}
    for module in sorted(modules & {module for module, one in known.items() if one.copy and one.file}):
        found |= closure(module, roots)
    return found


def _accept(
    run: Run, known: Mapping[str, Pinned], now: Mapping[str, Source], changed: Sequence[str], step: int
) -> None:
    folder = _folder(run)
    before = folder / f"before-{step:06d}"
    for module in changed:
        if known[module].copy:
            _write(before / known[module].copy, (folder / known[module].copy).read_bytes())
        run.note({"changes": changed_rows(run, step, module, known[module].sha256, now[module].sha256)})
    for copy, text in copies_of(now).items():
        _write(folder / copy, text)
    table = {**known, **_pinned(now)}
    run.note({"sources": {module: asdict(pinned) for module, pinned in table.items()}})


def _write(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


def _pinned(found: Mapping[str, Source]) -> dict[str, Pinned]:
    return {
        module: Pinned(file=source.file, sha256=source.sha256, copy=_copy(module, source))
        for module, source in found.items()
    }


def _copy(module: str, source: Source) -> str:
    if source.is_installed:
        return ""
    if not source.file:
        return f"{_OBJECTS}/{module.rpartition(':')[2]}.py"
    place = module.replace(".", "/")
    return f"{place}/__init__.py" if Path(source.file).name == "__init__.py" else f"{place}.py"


def _folder(run: Run) -> Path:
    return (run.path / SOURCES).resolve()


def _root(run: Run, known: Mapping[str, Pinned]) -> Path | None:
    """The folder from which the run's modules are imported; None if it has none."""
    kept = {module: pinned for module, pinned in known.items() if pinned.copy and pinned.file}
    roots = {root_of(module, pinned.file) for module, pinned in kept.items()}
    if len(roots) == 1 and not any(_state(pinned) for pinned in kept.values()):
        return roots.pop()
    return _folder(run) if kept else None


def _state(pinned: Pinned) -> str:
    """Empty if the original is as it was."""
    file = Path(pinned.file)
    if not pinned.file or not file.is_file():
        return "is not here" if pinned.file else ""
    return "" if sha256(file.read_bytes()).hexdigest() == pinned.sha256 else "has changed"


def _within(table: Any, root: str, modules: set[str]) -> Any:
    """The table, in which members of these modules are named with the folder that they are imported from."""
    if isinstance(table, list):
        return [_within(one, root, modules) for one in table]
    if not isinstance(table, dict):
        return table
    changed = {key: _within(value, root, modules) for key, value in table.items()}
    for key in ("name", "read"):
        name = changed.get(key)
        if isinstance(name, str) and is_own(name) and parts_of(name)[1] in modules:
            changed[key] = within(root, name)
    return changed


def _look_where_older_versions_say(run: Run) -> None:
    """Runs of older versions name the files of their members, and have no copies."""
    for name, entry in run.facts.get("sources", {}).items():
        if entry["file"]:
            look_in(root_of(name.partition(":")[0], entry["file"]))


def _specs(section: Any) -> Iterator[Spec]:
    """Every member of a family that is named anywhere in a section."""
    if isinstance(section, Spec):
        yield section
    elif isinstance(section, BaseModel):
        for name in type(section).model_fields:
            yield from _specs(getattr(section, name))
    elif isinstance(section, list):
        for one in section:
            yield from _specs(one)
