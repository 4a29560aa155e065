"""Families: named members that a recipe chooses from, and the user's own members, `module:name`.

Every family of this package is one `Family`, a table of names in its `__init__.py`. A member is imported only when it
is needed. An error in a name or an option is reported in one line.
"""

import importlib
import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from counterpoint.errors import ConfigError, place_of, told, unknown
from counterpoint.options import Spec, check_options
from counterpoint.own_modules import Source, apart, closure, imported, is_importable, text_of
from counterpoint.sameness import is_same

T = TypeVar("T")
GIVEN = "given"
"""The module part of the name of a Python object that was passed to a call; only this process knows it."""
_OWN = "my_module:my_{kind}"
_KEYWORD_ONLY = (inspect.Parameter.KEYWORD_ONLY,)
_ANY = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_folders: list[str] = []
_given: dict[str, Any] = {}


def look_in(folder: Path) -> None:
    """Search `folder` for the user's own modules too, before the current directory."""
    place = str(folder.resolve())
    if place in _folders:
        _folders.remove(place)
    _folders.insert(0, place)


def searched() -> list[str]:
    """The folders that are searched for the user's own modules, for another process to search too."""
    return _places("")


def given(names: Collection[str]) -> dict[str, Any]:
    """Name -> object of those names that stand for an object that was passed from Python. Raises ConfigError."""
    found = {name: parts_of(name) for name in names if is_own(name)}
    return {name: _find_given(attribute) for name, (_, module, attribute) in found.items() if module == GIVEN}


@contextmanager
def only_folders_named_within() -> Iterator[None]:
    """Inside, the user's modules are those of the folders that `look_in` names inside, as in a process of its own."""
    before = _folders[:]
    _folders.clear()
    try:
        with apart():
            yield
    finally:
        _folders[:] = before


def name_of(member: Any, kind: str) -> str:
    """The name of a Python object in a recipe.

    It is `module:name` if any process can import the object, else `given:name`, which only this process can resolve:
    `given:name-2` and so on where that name stands for an object that does something else.
    """
    own, name = _qualified(member), importable_name_of(member)
    if name:
        return name
    last = own.rpartition(".")[2]
    name = f"{GIVEN}:{_free_for(member, last if last.isidentifier() else kind)}"
    give(name, member)
    return name


def importable_name_of(member: Any) -> str:
    """`module:name` by which any process can import a Python object; empty if there is none."""
    module, own = getattr(_declared(member), "__module__", None), _qualified(member)
    is_there = module not in (None, "__main__") and is_importable(str(module), own, member, _places(""))
    return f"{module}:{own}" if is_there else ""


def _declared(member: Any) -> Any:
    return getattr(member, "play", member)  # a workflow is known by its function


def _qualified(member: Any) -> str:
    return str(getattr(_declared(member), "__qualname__", ""))


def give(name: str, member: Any) -> None:
    """Register a Python object under `name`, such as `given:score`, in this process. Other names are ignored."""
    module, _, attribute = name.partition(":")
    if module == GIVEN:
        _given[attribute] = member


def is_own(name: str) -> bool:
    """True if a name has the form `module:name`, which names a member that the user wrote."""
    return ":" in name


def parts_of(name: str) -> tuple[str, str, str]:
    """Folder, module and attribute of `module:name`, or of `/folder/module:name`, which only that folder can mean."""
    whole, _, attribute = name.rpartition(":")
    place, _, module = whole.rpartition("/")
    return place, module, attribute


def within(folder: str, name: str) -> str:
    """The name of the same member of the module in `folder`, whatever else has the name of that module."""
    _, module, attribute = parts_of(name)
    return f"{folder}/{module}:{attribute}"


def plain(name: str) -> str:
    """The name as a recipe has it, `module:name`, without a folder."""
    _, module, attribute = parts_of(name)
    return f"{module}:{attribute}" if is_own(name) else name


def sources_of(name: str) -> dict[str, Source]:
    """Module -> source of a member that the user wrote, and of the user's modules that its module imports.

    A Python object has the source of its definition under its name, `given:score`, or none. A module of an installed
    package has only its own. Raises ConfigError if it cannot be imported.
    """
    place, module, attribute = parts_of(name)
    if module != GIVEN:
        file = _imported(name).__file__ or ""
        own = closure(module, _places(place))
        return own or ({module: Source(file, Path(file).read_bytes(), is_installed=True)} if file else {})
    text = text_of(_find_given(attribute))
    return {name: Source("", text.encode())} if text else {}


@dataclass(frozen=True, slots=True)
class Family(Generic[T]):
    """The members of one family.

    A member is a function or class that makes a `T` from its options, or a `T` itself.
    """

    kind: str
    """The word for a member in messages, such as "task"."""
    members: Mapping[str, str]
    """Name -> `module:attribute`."""
    takes: type | tuple[type, ...] | None = None
    """The type or types of members that are used as they are, instead of being called."""

    def __iter__(self) -> Iterator[str]:
        """The names of the shipped members."""
        return iter(self.members)

    def shipped(self) -> dict[str, Any]:
        """Name -> member, without the user's own."""
        return {name: self.find(name) for name in self.members}

    def find(self, name: str) -> Any:
        """The member with that name. Raises ConfigError, which suggests the nearest name, if there is none."""
        if is_own(name):
            return self._own(name)
        if name not in self.members:
            raise ConfigError(unknown(self.kind, name, self.members) + f", or {_OWN.format(kind=self.kind)}")
        module, _, attribute = self.members[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def build(self, spec: Spec, where: str = "", **context: Any) -> T:
        """The result of calling the member that `spec` names with its options.

        It also gets those values of `context` for which it has a parameter. Raises ConfigError if there is no such
        member, or an option is unknown, missing or out of range.
        """
        member = self.find(spec.name)
        if self.takes is not None and isinstance(member, self.takes):
            self._refuse_options(spec, where)
            return cast(T, member)
        return cast(T, self._bound(member, spec, where, context, _ANY)())

    def bind(self, spec: Spec, where: str = "", **context: Any) -> "partial[Any]":
        """The member with its options (its keyword-only parameters) and the matching values of `context` bound.

        The caller passes its other parameters. Raises ConfigError as `build` does.
        """
        return self._bound(self.find(spec.name), spec, where, context, _KEYWORD_ONLY)

    def _bound(
        self, member: Any, spec: Spec, where: str, context: Mapping[str, Any], kinds: Collection[Any]
    ) -> "partial[Any]":
        place = where or f"{self.kind}.{spec.name}"
        if not callable(member):
            raise ConfigError(f"{place} = {spec.name!r} is a {type(member).__name__}, which cannot make a {self.kind}")
        parameters = inspect.signature(member).parameters
        known = {name: value for name, value in context.items() if name in parameters}
        options = [name for name, one in parameters.items() if name not in known and one.kind in kinds]
        if spec.options and not options:
            raise ConfigError(f"{place} = {spec.name!r} takes no options; {', '.join(spec.options)} given")
        checked = check_options(place, member, spec.options, only=options)
        return partial(member, **checked, **known)

    def _own(self, name: str) -> Any:
        _, module, attribute = parts_of(name)
        if module == GIVEN:
            return _find_given(attribute)
        found = _imported(name)
        if not hasattr(found, attribute):
            there = [
                key
                for key, value in vars(found).items()
                if not key.startswith("_")
                and (
                    (callable(value) and getattr(value, "__module__", None) == module)
                    or (self.takes and isinstance(value, self.takes))
                )
            ]
            raise ConfigError(f"{self.kind} {name!r}: " + unknown(f"name in {module}", attribute, there))
        return getattr(found, attribute)

    def _refuse_options(self, spec: Spec, where: str) -> None:
        if spec.options:
            given = ", ".join(spec.options)
            raise ConfigError(f"{where or self.kind} = {spec.name!r} is an object and takes no options; {given} given")


def _free_for(member: Any, attribute: str) -> str:
    """The attribute, with the first number at which no object is registered that does something else."""
    numbered = (attribute if number == 1 else f"{attribute}-{number}" for number in count(1))
    return next(one for one in numbered if one not in _given or is_same(_given[one], member))


def _find_given(attribute: str) -> Any:
    if attribute not in _given:
        raise ConfigError(
            f"{GIVEN}:{attribute} was passed as a Python object, which this process does not have: pass it again"
            " from Python, or put it into a module and override the name that the recipe has for it with module:name"
        )
    return _given[attribute]


def _imported(name: str) -> ModuleType:
    """The user's module that a name stands for, executed again if its source has changed. Raises ConfigError."""
    place, module, _ = parts_of(name)
    try:
        return imported(module, _places(place), pinned=bool(place))
    except Exception as error:  # whatever the user's module raises while it is executed
        where = place_of(error) or f"looked for in {place or f'the folder of the recipe and in {Path.cwd()}'}"
        raise ConfigError(f"{name!r}: module {module!r} cannot be imported: {told(error)} ({where})") from error


def _places(place: str) -> list[str]:
    """The folders in which the user's modules are looked for."""
    return [place] if place else [*_folders, str(Path.cwd())]


def table(package: str, members: Sequence[str]) -> dict[str, str]:
    """The table of members that are the functions of their file's name: `name` is `package.name:name`."""
    return {name: f"{package}.{name}:{name}" for name in members}
