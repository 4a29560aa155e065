"""The documentation site: Sphinx reads the pages of this repository where they are, and `make docs` writes `site/`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import reference_pages  # noqa: E402 (the path is set above)

reference_pages.write(ROOT / "docs" / "reference")

project = "Counterpoint"
author = "The Counterpoint authors"
copyright = author
release = version = reference_pages.version(ROOT)
extensions = ["myst_parser", "sphinx.ext.autodoc"]

root_doc = "docs/index"
include_patterns = ["docs/**.md", "recipes/*/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md", "SECURITY.md"]
exclude_patterns = [
    *("benchmarks", "build", "counterpoint", "dist", "runs", "scripts", "shared", "site", "tests"),
    *(path.name for path in ROOT.glob(".*") if path.is_dir()),
]

myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block", "deflist"]
default_role = "code"
"""Docstrings write names in single backticks."""

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
suppress_warnings = ["autodoc.mocked_object"]

html_theme = "furo"
html_title = f"Counterpoint {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_additional_pages = {"index": "to_start.html"}
templates_path = ["_templates"]
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"


def _as_rst(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def]
    """Docstrings are plain text with names in backticks: what else reStructuredText would read is escaped."""
    if lines and lines[0].startswith("Alias for field number"):  # Python's own text for a field of a named tuple
        lines.clear()
    paragraphs = "\n".join(lines).strip().split("\n\n")
    lines[:] = [*"\n\n".join(map(_paragraph, paragraphs)).split("\n"), ""]


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if len(lines) > 1 and all(" = " in line or line.startswith("    ") for line in lines):
        return "::\n\n" + "\n".join(f"    {line}" for line in lines)
    return "".join(part if part.startswith("`") else _escaped(part) for part in re.split(r"(`[^`]+`)", text))


def _escaped(text: str) -> str:
    text = re.sub(r"\||\*(?!\s)|(?<!^)(?<!\n)\*", r"\\\g<0>", text)
    return re.sub(r"(\w)_(?!\w)", r"\1\\_", text)


def setup(app):  # type: ignore[no-untyped-def]
    """Sphinx calls this when it starts."""
    app.connect("autodoc-process-docstring", _as_rst)
