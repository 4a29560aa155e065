"""The scripts that draw figures in a page (Vega, Vega-Lite, Vega-Embed), made once by vl-convert and kept."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import cast

import vl_convert

_MARK = "//sha256:"


@cache
def vega_bundle() -> str:
    """One script that defines `vegaEmbed`, `vega` and `vegaLite`.

    Making it takes seconds, so it is kept in the cache folder of the user, for each version of vl-convert; a file there
    that is not whole is made anew, and a folder that cannot be written to is no error.
    """
    file = _folder() / f"vega-{version('vl-convert-python')}.js"
    kept = _read(file)
    if kept is None:
        kept = _made()
        _keep(file, kept)
    return kept


def _made() -> str:
    """The bundle is a module: within a function, its names stay its own."""
    bundle = cast(Callable[[], str], vl_convert.javascript_bundle)  # its stub asks for a snippet, which it does not need
    return f'(() => {{ "use strict";\n{bundle()}\n}})();'.replace("</script", "<\\/script")


def _read(file: Path) -> str | None:
    try:
        first, _, text = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if first == _MARK + _digest(text) else None


def _keep(file: Path, text: str) -> None:
    partial = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as out:
            partial = Path(out.name)
            out.write(f"{_MARK}{_digest(text)}\n{text}")
        partial.replace(file)
    except OSError:
        if partial is not None:
            partial.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "counterpoint"
