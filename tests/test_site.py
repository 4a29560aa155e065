"""The documentation site: its links, its generated reference pages, and that it is built without the network."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint import errors
from counterpoint.config import Config, Section
from counterpoint.interventions import INTERVENTIONS
from counterpoint.reference import FAMILIES, members
from counterpoint.tasks import TASKS
from counterpoint.workflows import WORKFLOWS
from scripts import reference_pages

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*/README.md")]
    if "reference" not in path.parts
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(path):
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)


def anchors(path):
    """The anchors that GitHub, and the site, give the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path):
    """The relative links of a page that lead nowhere; those to pages that the site generates are checked there."""
    for link in LINK.findall(prose(path)):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if "://" in link or "docs/reference" in str(target):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path):
    assert list(broken(path)) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title\n\n[a](page.md#a-title) [b](gone.md) [c](#no-such) [d](https://example.org)\n")
    assert list(broken(page)) == ["gone.md", "#no-such"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Name -> text of the generated pages."""
    folder = tmp_path_factory.mktemp("reference")
    reference_pages.write(folder)
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.md")}


def keys(section, place=""):
    """Every key of the recipe, as it is written on the command line."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from keys(inner, f"{place}{name}.")
        elif name != "policy":
            yield f"{place}{name}"


def test_the_recipe_reference_has_every_key_with_its_default_and_range(reference):
    rows = re.findall(r"^\| `([\w.]+)` \|", reference["recipe.md"], flags=re.MULTILINE)
    assert [key for key in keys(Config) if key not in rows] == []
    assert "| `policies.rank` | `int`, ≥ 1, ≤ 1024 | `16` |" in reference["recipe.md"]
    assert "| `policy.NAME.endpoint.url` | `str` | required |" in reference["recipe.md"]


def test_the_families_have_every_member_with_its_options(reference):
    page = reference["families.md"]
    assert [
        name for name in (*TASKS.members, *WORKFLOWS.members, *INTERVENTIONS.members) if f"**`{name}`**" not in page
    ] == []
    assert "| `operands` | `int`, ≥ 2, ≤ 8 | `3` |" in page


def test_the_families_name_no_option_that_a_recipe_cannot_set_and_no_place_of_this_machine(reference):
    options = {f"{key}.{one.name}" for key in FAMILIES for member in members(key) for one in member.options}
    assert "algorithm.overlong.buffer" in options
    assert not options & {
        "algorithm.advantage.baselines",
        "algorithm.aggregation.max_tokens",
        "algorithm.overlong.max_tokens",
    }
    assert sys.executable not in reference["families.md"]


def test_the_command_line_has_every_command_with_its_options(reference):
    page = reference["cli.md"]
    assert {"train", "resume", "evaluate", "init task"} <= set(
        re.findall(r"^## `counterpoint (.+)`$", page, flags=re.M)
    )
    assert "| `--split` | `test` |" in page


def test_the_exceptions_are_a_tree(reference):
    kinds = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)]
    tree = reference["exceptions.md"].split("```")[1]
    assert set(re.findall(r"\w+Error", tree)) == set(kinds)  # one with two parents stands under both
    assert "\n    SamplerError\n        EndpointError\n" in tree


def test_every_public_module_has_a_page(reference):
    public = {path.stem for path in (ROOT / "counterpoint").glob("*.py") if not path.name.startswith("_")}
    assert {f"api/{name}.md" for name in public} <= set(reference)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_the_network(tmp_path):
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "sphinx", "-c", "docs", "-b", "html", "-W", "--keep-going", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), ".", str(tmp_path / "site")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "docs" / "reference" / "recipe.html").is_file()
    loaded = re.compile(
        r"<(?:script|img|iframe)\b[^>]*\bsrc=\"https?:|<link\b[^>]*\bhref=\"https?:|url\(\s*[\"']?https?:"
    )
    files = [*(tmp_path / "site").rglob("*.html"), *(tmp_path / "site").rglob("*.css")]
    assert [str(path) for path in files if loaded.search(path.read_text())] == []
