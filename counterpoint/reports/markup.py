"""Pages as HTML: templates of Jinja with everything escaped, and the few filters that they share."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """The templates in `templates/`: every value is escaped, and a name that is not given is an error."""
    return Environment(
        loader=FileSystemLoader(FOLDER, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **given: Any) -> str:
    """The text of a template with these values."""
    return environment().get_template(template).render(**given)


def asset(name: str) -> str:
    """The text of a style sheet or a script of the templates' folder."""
    return (FOLDER / name).read_text(encoding="utf-8")
