"""The user's own modules: executed from the folder that is meant, and read with what they import from the same files.

Two runs may have modules of the same name and different text. `imported` therefore keeps every text that it executed,
and puts the modules that belong together into `sys.modules` together.
"""

import ast
import importlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.util import resolve_name
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any, cast

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD_LIBRARY = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
_PACKAGE = Path(__file__).parent
_DIGEST = "__counterpoint_sha256__"
"""The attribute of a user's module that holds the digest of the text that was executed."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a module or of an object, and the file that holds it; no file for an object of this process."""

    file: str
    text: bytes
    is_installed: bool = False
    """True for a module of an installed package, of which a run keeps the digest and no copy."""

    @property
    def sha256(self) -> str:
        return sha256(self.text).hexdigest()


_Texts = frozenset[tuple[str, str, str]]
"""Module, file and digest of every module that belongs together."""
_executed: dict[_Texts, dict[str, ModuleType]] = {}
_in_front: list[str] = []
"""The folder that is first in `sys.path` for the modules that were imported last."""


def imported(module: str, places: Sequence[str], *, pinned: bool = False) -> ModuleType:
    """The user's module, found in the first of `places` that has it, else among the installed ones.

    It is executed again if its text, or that of a module of the user's that it imports, has changed. With `pinned`,
    `places` come before whatever else `sys.path` holds. Raises whatever the module raises.
    """
    _put_first(places, pinned=pinned)
    importlib.invalidate_caches()
    wanted = closure(module, places)
    if not all(_is_loaded(name, source) for name, source in wanted.items()):
        for name in wanted:
            _set_aside(name)
    for name, known in _executed.get(_texts(wanted), {}).items():
        sys.modules.setdefault(name, known)
    found = importlib.import_module(module)
    for name, source in wanted.items():
        if name in sys.modules:
            _mark(sys.modules[name], source)
    _executed[_texts(wanted)] = {name: sys.modules[name] for name in wanted if name in sys.modules}
    return found


@contextmanager
def apart() -> Iterator[None]:
    """Inside, the user's modules that were imported before are not found; what is found inside is not found after."""
    path, front, before = sys.path[:], _in_front[:], _taken_out()
    try:
        yield
    finally:
        _taken_out()
        sys.modules.update(before)
        sys.path[:], _in_front[:] = path, front


def _taken_out() -> dict[str, ModuleType]:
    """The user's modules that `imported` has executed, which are no longer in `sys.modules`."""
    names = {name for modules in _executed.values() for name in modules}
    return {name: sys.modules.pop(name) for name in names if name in sys.modules}


def closure(module: str, places: Sequence[str]) -> dict[str, Source]:
    """Name -> source of the module, its packages, and the user's own modules that they name in `import` statements.

    Modules of installed packages, of this package and of Python itself are left out.
    """
    found: dict[str, Source] = {}
    left, seen = [module], set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        if "." in name:
            left.append(name.rpartition(".")[0])
        file = _own_file(name, places)
        if file is not None:
            text = file.read_bytes()
            found[name] = Source(str(file), text)
            left += _imports(text, name, file.name == "__init__.py")
    return dict(sorted(found.items()))


def is_importable(module: str, attribute: str, member: object, places: Sequence[str]) -> bool:
    """True if `member` is the `attribute` of the module that `imported` would return."""
    modules = [sys.modules.get(module), *(known.get(module) for known in _executed.values())]
    holders = [one for one in modules if one is not None and getattr(one, attribute, None) is member]
    file = _own_file(module, places)
    if file is None:
        return sys.modules.get(module) in holders
    source = Source(str(file), file.read_bytes())
    return any(_holds(one, source) for one in holders)


def text_of(member: object) -> str:
    """The source of a function, class or instance; empty if it has none. Of a lambda it is the expression alone."""
    declared = getattr(member, "play", member)  # a workflow is known by its function
    try:
        text = dedent(inspect.getsource(cast(Any, declared if callable(declared) else type(declared))))
    except (OSError, TypeError):
        return ""
    return _lambda_in(text) if getattr(declared, "__name__", "") == "<lambda>" else text


def root_of(module: str, file: str) -> Path:
    """The folder from which a module in `file` is imported."""
    depth = module.count(".") + (Path(file).name == "__init__.py")
    return Path(file).parents[depth]


def _put_first(places: Sequence[str], *, pinned: bool) -> None:
    for place in _in_front:
        if place in sys.path:
            sys.path.remove(place)
    _in_front[:] = places if pinned else []
    for place in reversed(places):
        if pinned or place not in sys.path:
            sys.path.insert(0, place)


def _is_loaded(name: str, source: Source) -> bool:
    """True unless `sys.modules` has another text under this name."""
    known = sys.modules.get(name)
    if known is None:
        return True
    return _holds(known, source)


def _holds(module: ModuleType, source: Source) -> bool:
    """True if this text was executed in the module, as far as is known: what others imported counts as up to date."""
    return _file_of(module) == source.file and getattr(module, _DIGEST, source.sha256) == source.sha256


def _set_aside(name: str) -> None:
    """The module is no longer in `sys.modules`, and is found again if its text is wanted again."""
    known = sys.modules.pop(name, None)
    file = None if known is None else _file_of(known)
    if known is None or file is None or hasattr(known, _DIGEST) or not Path(file).is_file():
        return
    texts = _texts(closure(name, [str(root_of(name, file))]))
    _executed.setdefault(texts, {}).setdefault(name, known)


def _mark(module: ModuleType, source: Source) -> None:
    if _file_of(module) == source.file and not hasattr(module, _DIGEST):
        setattr(module, _DIGEST, source.sha256)


def _texts(sources: Mapping[str, Source]) -> _Texts:
    return frozenset((name, source.file, source.sha256) for name, source in sources.items())


def _file_of(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return None if file is None else str(Path(file).absolute())


def _own_file(name: str, places: Sequence[str]) -> Path | None:
    """The file of a module that is nobody's installed package; None if there is no such file."""
    folders = [Path(place or ".").absolute() for place in (*places, *sys.path)]
    file = _file_below(folders, name.split("."))
    return file if file is not None and _is_own(file) else None


def _file_below(folders: Sequence[Path], parts: Sequence[str]) -> Path | None:
    """The file that Python imports under a dotted name; folders without `__init__.py` of one name count as one."""
    first, *rest = parts
    portions = []
    for folder in folders:
        package, module = folder / first / "__init__.py", folder / f"{first}.py"
        if package.is_file():
            return _file_below([folder / first], rest) if rest else package
        if module.is_file():
            return None if rest else module
        if (folder / first).is_dir():
            portions.append(folder / first)
    return _file_below(portions, rest) if rest and portions else None


def _is_own(file: Path) -> bool:
    if any(part in _INSTALLED for part in file.parts) or file.is_relative_to(_PACKAGE):
        return False
    return not any(file.is_relative_to(folder) for folder in _STANDARD_LIBRARY)


def _lambda_in(text: str) -> str:
    """The first lambda in a text, to the comma, bracket or line end that ends it."""
    begin = text.find("lambda")
    depth, has_body = 0, False
    for place in range(begin, len(text)):
        sign = text[place]
        if depth == 0 and (sign in ")]}\n" or (has_body and sign == ",")):
            return text[begin:place].rstrip()
        has_body = has_body or (depth == 0 and sign == ":")
        depth += (sign in "([{") - (sign in ")]}")
    return text[begin:].rstrip()


@lru_cache(maxsize=512)
def _imports(text: bytes, name: str, is_package: bool) -> tuple[str, ...]:
    """The modules that a text may import, whether they exist or not; none if it cannot be read."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ()
    package = name if is_package else name.rpartition(".")[0]
    return tuple(dict.fromkeys(one for node in ast.walk(tree) for one in _named(node, package)))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            try:
                base = resolve_name("." * node.level + base, package)
            except ImportError:
                return
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
