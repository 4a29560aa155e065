"""The report as a file: one page that loads nothing, in which every text is text."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from counterpoint import report
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.errors import ConfigError, RunError
from counterpoint.reports import bundle
from counterpoint.reports.assets import linked, packed_text, style_sheet
from counterpoint.reports.extent import extent
from counterpoint.reports.figure import Figure
from counterpoint.reports.gather import gather
from counterpoint.reports.looks import PALETTES
from counterpoint.reports.markup import Specs, code, environment, json_text
from counterpoint.reports.report import chosen
from counterpoint.reports.report.chosen import chosen_examples
from counterpoint.reports.report.methods import of_signatures, thresholds
from counterpoint.reports.report.page import Content
from counterpoint.reports.report.page import page as page_of
from counterpoint.reports.static import fitted, static_svg
from tests.command_line import command_line
from tests.synthetic_study import HOSTILE, Shape, write_study

VOID = {"meta", "link", "input", "br", "hr", "img"}
DOCS = Path(__file__).parent.parent / "docs"


class Page(HTMLParser):
    """The elements of a page, and whether all of them are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            given, text = self.scripts[-1]
            self.scripts[-1] = given, text + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("studies") / "hostile"
    shape = Shape(steps=30, every=5, tasks=16)
    write_study(made, cells=4, seeds=2, shape=shape, lost=2, hostile=True, controls=True)
    return made


@pytest.fixture(scope="module")
def text(folder):
    return report(folder, out=folder.parent / "report.html", title=HOSTILE[0]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run_text(folder):
    run = next(one for one in sorted(folder.iterdir()) if (one / "summary.json").is_file())
    return report(run, out=folder.parent / "run.html").read_text(encoding="utf-8")


@pytest.fixture(params=["text", "run_text"])
def page(request):
    return Page(request.getfixturevalue(request.param))


def inside(text: str) -> list[str]:
    """The insides of all cells of a page."""
    packed = re.findall(r'<script type="text/plain" class="packed">([^<]*)</script>', text)
    return [zlib.decompress(base64.b64decode(one), -zlib.MAX_WBITS).decode() for one in packed]


def a_figure(name: str = "lines", **spec: object) -> Figure:
    import polars as pl

    rows = pl.DataFrame({"step": [1, 2], "value": [0.123456, float("nan")], "what": [HOSTILE[0], "\u2028<b>"]})
    channels = {"x": {"field": "step", "type": "quantitative"}, "y": {"field": "value", "type": "quantitative"}}
    base = {"mark": "line", "data": {"name": "rows"}, "encoding": channels, "width": 500, "height": 100}
    return Figure(name=name, title="Lines & <more>", says="It says.", spec={**base, **spec}, data={"rows": rows})


def test_a_page_is_whole_and_has_one_title_and_landmarks(page):
    assert page.open == []
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert page.all("html") == [{"lang": "en"}]
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_policy_of_a_page_allows_its_own_scripts_and_sheet_and_nothing_else(page):
    policy = next(
        attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    runs = [text for attrs, text in page.scripts if "type" not in attrs]
    assert len(runs) == 3
    for one in [*runs, bundle.vega_bundle()]:
        digest = base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_a_page_loads_nothing_and_has_no_code_in_attributes(page):
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        for name in ("src", "href", "xlink:href"):
            address = attrs.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, address[:80])


def test_hostile_names_are_text(text):
    everything = "".join([text, *inside(text)])
    assert "<script>alert" not in everything
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in everything
    for one in inside(text):
        assert Page(one).open == []


def test_a_study_has_its_parts_in_their_order(text):
    anchors = [attrs["id"] for attrs in Page(text).all("h2") if "id" in attrs]
    known = ["found", "limits", "map", "differences", "cells", "signatures", "runs", "methods", "reproduce"]
    assert [one for one in anchors if one in known] == known
    assert text.index('id="figure-map"') < text.index('id="cell-1"') < text.index('id="table-of-runs"')


def test_the_cells_of_a_study_are_packed_and_hold_figures_and_runs(text):
    insides = inside(text)
    assert len(insides) == len(re.findall('class="study-cell"', text)) >= 4
    assert all("Test accuracy of the team" in one for one in insides)
    specs = json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', text, re.S)[1])
    used = {
        json.loads(one)["spec"] for part in insides for one in re.findall(r'class="figure-data">(.*?)</script>', part)
    }
    assert used
    assert used <= set(specs)


def test_the_report_of_a_run_stands_open_and_compares_nothing(run_text):
    assert inside(run_text) == []
    assert 'id="differences"' not in run_text
    assert "data-static" in run_text
    assert "<svg aria-hidden" in run_text


def test_accuracies_are_those_of_the_outcomes(text, folder):
    import polars as pl

    from counterpoint.experiments.collect import collect

    found = collect([folder])
    peak = found.outcomes.filter(pl.col("role").is_null(), pl.col("milestone") == "peak")
    for run, value in peak.group_by("run").agg(pl.col("value").mean()).iter_rows():
        row = re.search(rf"<tr><th scope=\"row\">{re.escape(run)}</th>.*?</tr>", text)
        if row is not None:
            assert f">{100 * value:.1f}</td>" in row[0]


def test_the_copies_of_the_numbers_are_files(text):
    links = {attrs["download"]: attrs["href"] for attrs in Page(text).all("a") if "download" in attrs}
    assert {"runs.csv", "map.csv", "map.md", "map.tex"} <= set(links)
    runs = base64.b64decode(links["runs.csv"].partition(",")[2]).decode().splitlines()
    assert runs[0].startswith("run,path,cell,seed,")
    assert len(runs) > 8


def test_the_methods_name_the_thresholds_of_the_code(text):
    numbers = thresholds()
    methods = text[text.index('id="methods"') :]
    assert f"at least {numbers['drop']} points" in methods
    assert f"{numbers['margin']} points unless the study says otherwise" in methods
    assert dict(of_signatures())["dominance"] == f"{Thresholds().dominance:g}"
    statistics = (DOCS / "statistics.md").read_text(encoding="utf-8")
    for words in (f"within ± the margin ({numbers['margin']} points", f"is at least {numbers['drop']} points"):
        assert words in statistics
    formulas = re.findall(r"(?:max\(S|V² /) .*", methods[: methods.index("Verdict")])
    assert formulas
    for formula in formulas:
        assert formula.removesuffix("</p>") in statistics


def test_a_study_of_many_cells_shares_specifications_and_stays_small():
    specs = Specs()
    names = {specs.name('{"mark":"line"}'), specs.name('{"mark":"line"}'), specs.name('{"mark":"bar"}')}
    assert names == {"s0", "s1"}
    assert json.loads(str(specs.text())) == {"s0": {"mark": "line"}, "s1": {"mark": "bar"}}


def test_json_in_a_page_cannot_end_its_element():
    told = json.dumps({"a": "</script><!-- & \u2028"}, ensure_ascii=False)
    escaped = str(json_text(told))
    assert not re.search(r"[<>&\u2028]", escaped)
    assert json.loads(escaped) == json.loads(told)


def test_a_figure_has_its_caption_its_numbers_and_its_data():
    template = environment().from_string('{% from "_figure.html" import figure %}{{ figure(fig) }}')
    made = template.render(fig=a_figure())
    assert "Lines &amp; &lt;more&gt;" in made
    assert "<b>" not in made
    data = json.loads(re.search(r'class="figure-data">(.*?)</script>', made)[1])["data"]["rows"]
    assert data["value"] == [0.1235, None]
    assert data["what"] == [HOSTILE[0], "\u2028<b>"]
    assert '<td class="number">0.1235</td>' in made
    assert Page(made).open == []


def test_no_value_of_a_page_is_invisible_or_turns_its_direction():
    import polars as pl

    turned = "a\u202eb\x00"
    rows = pl.DataFrame({turned: [turned]})
    figure = Figure(name="one", title=turned, says=turned, spec={}, data={"rows": rows})
    made = environment().from_string('{% from "_figure.html" import figure %}{{ figure(fig) }}').render(fig=figure)
    assert not {"\u202e", "\x00"} & set(made)
    assert made.count("a⟨U+202E⟩b⟨U+0000⟩") == 7
    kept = environment().from_string('<input value="{{ text|forceescape }}">').render(text='"\u202e')
    assert kept == '<input value="&#34;\u202e">'


def test_a_picture_in_a_page_follows_its_theme_and_fits_a_phone():
    made = str(static_svg(a_figure()))
    assert 'fill="var(--background)"' in made
    assert PALETTES["light"].background + '"' not in made
    assert "at-wide" in made
    assert "at-narrow" in made
    widths = [float(one) for one in re.findall(r'<svg [^>]*?width="([0-9.]+)"', made)]
    assert widths[0] > 500
    assert widths[1] < 360


def test_a_figure_that_cannot_be_drawn_leaves_the_rest_of_the_page(folder):
    run = next(one for one in sorted(folder.iterdir()) if (one / "summary.json").is_file())
    figures = [a_figure("good"), a_figure("bad", mark="nothing")]
    made = page_of(gather([run]), Content(cell_figures=lambda cell: figures))
    assert '<figure class="figure" id="figure-cell-1-good" data-figure data-static>' in made
    assert '<figure class="figure" id="figure-cell-1-bad" data-figure>' in made


def test_panels_beside_each_other_stand_below_each_other_on_a_phone():
    spec = {"hconcat": [{"width": 400, "mark": "bar"}, {"width": 100, "layer": [{"width": "container"}]}]}
    narrow = fitted(spec, 336)
    assert [one["width"] for one in narrow["vconcat"]] == [246, 100]
    assert narrow["vconcat"][1]["layer"] == [{"width": 246}]
    assert "hconcat" in spec


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (560, 150)),
        ({"height": {"step": 20}, "encoding": {"y": {"field": "what", "type": "nominal"}}}, (560, 90)),
        ({"vconcat": [{"width": 100, "height": 50}, {"width": 200, "height": 50}]}, (260, 200)),
        ({"hconcat": [{"width": 100, "height": 50}, {"width": 200, "height": 80}]}, (420, 130)),
        ({"facet": {"field": "what"}, "columns": 1, "spec": {"width": 100, "height": 50}}, (160, 200)),
    ],
)
def test_the_place_of_a_figure_has_about_its_size(spec, expected):
    assert extent(a_figure(**spec)) == expected


def test_every_colour_of_a_page_has_a_light_and_a_dark_side():
    sheet = style_sheet(("report.css",))
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", sheet))
    defined = dict(re.findall(r"--([a-z0-9-]+): (light-dark\([^)]*\));", sheet))
    assert used <= set(defined)
    assert defined["ink"] == f"light-dark({PALETTES['light'].ink}, {PALETTES['dark'].ink})"


def test_a_server_gives_the_same_parts_as_files():
    assets = linked("/static/", scripts=("more.js",))
    assert assets.csp == ""
    assert 'src="/static/theme.js"' in assets.head
    assert 'href="/static/page.css"' in assets.head
    assert 'src="/static/figures.js" data-vega="/static/vega.js"' in assets.end
    assert "/static/more.js" in assets.end


def test_names_in_backticks_are_code_and_everything_is_escaped():
    assert code("use `a<b` & more") == "use <code>a&lt;b</code> &amp; more"


def test_packed_text_is_deflated_without_a_head():
    assert zlib.decompress(base64.b64decode(packed_text("tëxt" * 99)), -zlib.MAX_WBITS).decode() == "tëxt" * 99


def test_the_bundle_is_kept_and_made_again_when_it_is_damaged(tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bundle, "_made", lambda: made.append(1) or "script();")
    ask = bundle.vega_bundle.__wrapped__
    assert [ask(), ask()] == ["script();"] * 2
    assert len(made) == 1
    file = next((tmp_path / "counterpoint").iterdir())
    file.write_text(file.read_text(encoding="utf-8")[:-3], encoding="utf-8")
    assert ask() == "script();"
    assert len(made) == 2
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_to_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "counterpoint").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bundle, "_made", lambda: "script();")
    assert bundle.vega_bundle.__wrapped__() == "script();"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "nowhere is not a run, a study or a folder of collected files: there is nothing of that name"),
        (("STUDY", "--out", "."), ". cannot be written: it is a folder; name a file, such as report.html"),
        (("STUDY", "--out", "mine.txt"), "mine.txt is there already and is not a report; name another file"),
        (("STUDY", "--out", "mine.txt/r.html"), "mine.txt cannot be written to: mine.txt is a file"),
        (("STUDY", "--figures", "mine.txt"), "mine.txt cannot hold figures: it is a file; name a folder"),
        ((".",), ". is not a run, a study or a folder of collected files"),
    ],
)
def test_what_cannot_be_reported_is_said_in_a_line(arguments, says, folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    asked = [str(folder) if one == "STUDY" else one for one in arguments]
    done = command_line("report", *asked, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "report.html").exists()


def test_without_the_extra_the_report_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr("counterpoint.reports.front.find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(ConfigError, match=re.escape("pip install 'counterpoint[report]' first")):
        report(folder)


def test_an_older_report_is_replaced_and_the_figures_are_files(folder, tmp_path):
    out, figures = tmp_path / "new" / "report.html", tmp_path / "figures"
    run = next(one for one in sorted(folder.iterdir()) if (one / "summary.json").is_file())
    for more in ([], ["--figures", figures]):
        done = command_line("report", run, "--out", out, *more)
        assert done.returncode == 0, done.stderr
        assert f"wrote {out}" in done.stdout
    assert [one.name for one in out.parent.iterdir()] == ["report.html"]
    assert {".svg", ".pdf", ".png"} <= {one.suffix for one in figures.iterdir()}


def test_a_page_names_what_it_could_not_read(tmp_path):
    folder = tmp_path / "damaged"
    write_study(folder, cells=2, seeds=2, shape=Shape(steps=20, every=5, tasks=32))
    first, second = [one for one in sorted(folder.iterdir()) if (one / "summary.json").is_file()][:2]
    (first / "metrics.jsonl").write_text("junk\n", encoding="utf-8")
    (second / "summary.json").write_text('{"<img src=x>"', encoding="utf-8")
    text = report(folder, out=tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"{first.name} cannot be read: " in text
    assert "metrics.jsonl, line 1 is damaged" in text
    assert "1 unreadable" in text
    single = tmp_path / "one.html"
    with pytest.raises(RunError, match=r"summary\.json is damaged"):
        report(second, out=single)
    assert not single.exists()


def test_episodes_that_cannot_be_read_or_have_no_room_are_counted(folder, monkeypatch):
    cells = gather([folder]).cells
    assert not chosen_examples(cells).missing
    monkeypatch.setattr(chosen, "within_budget", lambda found, size: ([], 3))
    assert chosen_examples(cells).missing[0].startswith("3 example episodes had no room on this page")
    monkeypatch.setattr(chosen, "examples_of", _unreadable)
    assert "cannot be read: the file is gone" in chosen_examples(cells).missing[0]


def _unreadable(run):
    raise RunError("the file is gone")
