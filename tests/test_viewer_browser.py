"""The viewer in a browser: pages that follow a run, hostile text, keys, the end of the server, and how it looks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from counterpoint.cli.main import main
from counterpoint.files import append_row, lock, write_whole
from counterpoint.reports.viewer.bundle import write_bundle
from tests.browser import WIDTHS, draw_everything, opened, overflow, settle, violations
from tests.synthetic_study import Shape, write_study

pytestmark = pytest.mark.slow
HOSTILE = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\u202e\x00"
WAIT = 3_000
"""Milliseconds in which what a run writes is on the page."""


SLOWLY = """
  let embed;
  Object.defineProperty(window, "vegaEmbed", {
    get: () => embed,
    set: (given) => {
      embed = async (place, ...rest) => {
        const isWide = innerWidth > 1000;
        const drawing = place.parentElement;
        drawing.dataset.times = Number(drawing.dataset.times ?? 0) + 1;
        const result = await given(place, ...rest);
        if (isWide) await new Promise((done) => setTimeout(done, 2000));
        return result;
      };
    },
  });
"""
"""Drawing on a wide page takes longer than the page waits after a change of its width; it is counted."""
BELOW = """() => {
  const below = (one) => one.getBoundingClientRect().top > innerHeight + 200;
  window.watched = [...document.querySelectorAll(".drawing:has(> .fresh)")].find(below);
  return Boolean(window.watched);
}"""
"""A figure that nobody sees is being drawn; it is watched from now on."""


@contextmanager
def viewing(folder, *options):
    """The address of a viewer in a process of its own, and the process."""
    command = [sys.executable, "-m", "counterpoint", "view", str(folder), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("http"), process.stderr.read()
            yield line.split()[0].rstrip("/"), process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a study, and the address of a viewer of it, for all tests."""
    folder = tmp_path_factory.mktemp("viewed") / "runs"
    folder.mkdir()
    write_study(folder / "study", cells=2, seeds=2, shape=Shape(steps=20, tasks=16))
    with viewing(folder) as (address, _):
        yield folder, address


@pytest.fixture
def address(site):
    """The address of the viewer; what a test adds to its folder is gone after it."""
    folder, address = site
    yield address
    for path in folder.iterdir():
        if path.name != "study":
            shutil.rmtree(path)


@pytest.fixture
def growing(site, address, tiny_run):
    """A copy of a run that looks as if it was being trained, which the viewer shows."""
    import httpx2

    run = site[0] / "mine"
    shutil.copytree(tiny_run.path, run)
    (run / "summary.json").unlink()
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace("steps = 2", "steps = 500", 1), encoding="utf-8")
    descriptor = lock(run / "run.lock")
    while httpx2.get(f"{address}/run/mine?part=head").status_code == 404:
        time.sleep(0.05)
    yield run
    os.close(descriptor)


def write_step(run, step):
    """The run has one more step, in two writes, as a line may be torn for a moment."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    line = json.dumps({**rows[-1], "step": step, "episode/score": 0.5}) + "\n"
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(line[:40])
        file.flush()
        time.sleep(0.01)
        file.write(line[40:])


def drawn(step, *, negated=False):
    """JavaScript: True if the data of a figure have the step, or if those of none have."""
    data = "[...document.querySelectorAll('.figure-data')].map(one => JSON.parse(one.textContent).data)"
    found = f"{data}.some(one => Object.values(one).some(rows => (rows.step ?? []).includes({step})))"
    return f"() => {'!' if negated else ''}{found}"


def shows(page, text, within=WAIT):
    page.locator(".steps", has_text=text).first.wait_for(timeout=within)


def test_a_run_grows_while_the_page_is_open_and_what_a_person_opened_stays(address, growing, browser):
    with opened(browser, f"{address}/run/mine") as (page, seen):
        shows(page, "2/500")
        page.get_by_text("The recipe, with every default").click()
        page.locator("#theme").focus()
        page.evaluate("window.scrollTo(0, 200)")
        draw_everything(page)
        page.evaluate("window.scrollTo(0, 200)")
        for step in (3, 4, 5):
            write_step(growing, step)
            shows(page, f"{step}/500")
        page.wait_for_function(drawn(5), timeout=15_000)
        assert page.locator("details[open]", has_text="with every default").count() == 1
        assert page.evaluate("document.activeElement.id") == "theme"
        assert page.evaluate("window.scrollY") == 200
        rows = [json.loads(line) for line in (growing / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        write_whole(growing / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows[:2]))
        shows(page, "2/500")
        assert page.locator(".steps", has_text="5/500").count() == 0
        page.wait_for_function(drawn(5, negated=True), timeout=15_000)
        assert seen.errors == []


def test_runs_appear_in_the_list_and_go(address, growing, browser, tiny_run):
    with opened(browser, f"{address}/") as (page, seen):
        page.get_by_role("link", name="mine").wait_for()
        shutil.copytree(tiny_run.path, growing.parent / "second")
        page.get_by_role("link", name="second").wait_for(timeout=WAIT)
        page.get_by_label("Search").fill("second")
        page.get_by_role("link", name="mine").wait_for(state="detached")
        assert page.url.endswith("?q=second")
        page.get_by_label("Search").fill("")
        page.get_by_role("link", name="mine").wait_for()
        page.get_by_role("link", name="validation", exact=True).click()
        page.locator("th[aria-sort='descending']").wait_for()
        shutil.rmtree(growing.parent / "second")
        page.get_by_role("link", name="second").wait_for(state="detached", timeout=WAIT)
        assert seen.errors == []


def test_without_streams_the_page_asks_and_a_hidden_page_asks_nothing(address, growing, browser):
    with opened(browser, f"{address}/") as (page, _):
        page.add_init_script("delete window.EventSource")
        page.clock.install()
        page.goto(f"{address}/run/mine")
        shows(page, "2/500")
        write_step(growing, 3)
        page.clock.fast_forward(6_000)
        shows(page, "3/500", within=8_000)
        page.evaluate("""() => {
            Object.defineProperty(document, 'hidden', { value: true, configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        }""")
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        write_step(growing, 4)
        page.clock.fast_forward(6_000)
        page.wait_for_timeout(300)
        assert asked == []
        page.evaluate("""() => {
            Object.defineProperty(document, 'hidden', { value: false, configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        }""")
        shows(page, "4/500")


def test_three_open_pages_do_not_keep_the_end_waiting_and_they_say_it_and_recover(growing, browser):
    with viewing(growing.parent) as (address, process):
        port = address.rpartition(":")[2]
        with (
            opened(browser, f"{address}/") as (one, _),
            opened(browser, f"{address}/run/mine") as (two, _),
            opened(browser, f"{address}/run/mine/episodes") as (three, _),
        ):
            shows(two, "2/500")
            for page in (one, three):
                page.locator("#live[data-state='live']").wait_for(state="attached")
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            assert process.wait(10) == 0
            assert time.monotonic() - began < 4
            assert process.stderr.read() == ""
            two.get_by_text("The viewer does not answer").wait_for(timeout=10_000)
            write_step(growing, 3)
            with viewing(growing.parent, "--port", port):
                shows(two, "3/500", within=30_000)
                two.locator("#live[data-state='live']").wait_for(state="attached", timeout=20_000)


def test_a_port_in_use_is_one_line(address, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["counterpoint", "view", ".", "--port", address.rpartition(":")[2]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "choose another with --port" in told


def test_two_hundred_runs_are_listed_in_a_second(tmp_path, tiny_run, browser):
    for number in range(200):
        shutil.copytree(
            tiny_run.path,
            tmp_path / "runs" / f"run-{number}",
            ignore=shutil.ignore_patterns("*.parquet", "checkpoints"),
        )
        (tmp_path / "runs" / f"run-{number}" / "checkpoints").mkdir()
    with viewing(tmp_path / "runs") as (address, _), opened(browser, f"{address}/") as (page, _):
        assert page.locator("table.runs tbody tr").count() == 200
        times = []
        for _ in range(5):  # Whatever else the machine does makes a load slower, never faster: the best one is told.
            page.goto(f"{address}/?q=run")
            times.append(page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
        assert min(times) < 1_000, times


def test_hostile_text_does_nothing(address, growing, browser):
    facts = json.loads((growing / "run.json").read_text(encoding="utf-8"))
    write_whole(growing / "run.json", json.dumps({**facts, "recipe": HOSTILE, "overrides": [HOSTILE * 2_000]}))
    rows = [json.loads(line) for line in (growing / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    append_row(growing / "metrics.jsonl", {**rows[-1], "step": 3, f"role/{HOSTILE.replace('/', '|')}/tokens": 1.0})
    other = growing.parent / HOSTILE.replace("/", "|").replace("\x00", "")
    shutil.copytree(growing, other)
    with opened(browser, f"{address}/") as (page, seen):
        for path in ("/", "/run/mine", page.locator("tbody th a").first.get_attribute("href"), "/run/mine/episodes"):
            page.goto(f"{address}{path}")
            page.locator("#live[data-state='live']").wait_for(state="attached")
            assert page.evaluate("window.hit") is None
            assert overflow(page) <= 0
        assert seen.errors == []


def test_an_episode_is_walked_with_keys_and_follows_its_run(address, growing, browser):
    with opened(browser, f"{address}/run/mine/episodes?split=train") as (page, seen):
        page.locator("table.listed tbody a").first.click()
        page.locator("[data-episode]").wait_for()
        first = page.url
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.matches('[data-call]')")
        page.keyboard.press("n")
        page.wait_for_url(lambda url: url.partition("#")[0] != first.partition("#")[0])
        page.keyboard.press("p")
        page.wait_for_url(lambda url: url.partition("#")[0] == first.partition("#")[0])
        page.keyboard.press("?")
        page.locator("details.keys[open]").wait_for()
        page.locator("#live[data-state='live']").wait_for(state="attached")
        shutil.rmtree(growing / "episodes")
        page.get_by_text("This is not there any more").wait_for(timeout=WAIT)
        assert page.locator("[data-episode]").count() == 1
        assert seen.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_can_be_used_by_everybody_at_every_width(address, growing, browser, theme):
    paths = ["/", "/study/study", "/run/mine", "/run/mine/episodes", "/compare?a=mine&b=mine", "/nonsense"]
    with opened(browser, f"{address}/", theme=theme) as (page, seen):
        page.goto(f"{address}/run/mine/episodes?split=test")
        paths.append(page.locator("table.listed tbody a").first.get_attribute("href"))
        for path in paths:
            page.goto(address + path)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                assert overflow(page) <= 0, (path, width)
                settle(page)
            assert violations(page) == [], path
        assert [one for one in seen.errors if "404" not in one] == []


def until(page, holds, seconds=20.0):
    """Waits until an expression is true on a page whose policy refuses Playwright's own way to wait for one."""
    limit = time.monotonic() + seconds
    while not page.evaluate(holds):
        assert time.monotonic() < limit, holds
        page.wait_for_timeout(20)


def test_a_figure_whose_page_changes_while_it_is_drawn_is_drawn_again(address, growing, browser):
    with opened(browser, "about:blank") as (page, seen):
        page.add_init_script(SLOWLY)
        page.goto(f"{address}/run/mine")
        until(page, BELOW)
        page.set_viewport_size({"width": 360, "height": 900})
        until(page, "Number(window.watched.dataset.times) > 1")
        settle(page)
        assert seen.errors == []


def test_a_bundle_works_from_a_disk(growing, tmp_path, browser):
    write_bundle(growing.parent, tmp_path / "out")
    with opened(browser, tmp_path / "out" / "index.html") as (page, seen):
        page.get_by_role("link", name="mine").click()
        draw_everything(page)
        assert page.locator(".drawn svg").count() > 3
        page.locator("#theme").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.locator(".recorded a").last.click()
        page.locator("table.listed tbody a").first.click()
        page.locator("[data-episode]").wait_for()
        assert seen.errors == []
        assert [url for url in seen.requests if not url.startswith("file:")] == []


def test_a_real_training_is_followed(site, address, browser):
    small = ["run.steps=2", "task.validation=4", "task.test=4", "rollout.tasks_per_step=2", "evaluation.every=1"]
    command = [sys.executable, "-m", "counterpoint", "train", "voting_arithmetic", "run.threads=1", *small]
    with opened(browser, f"{address}/") as (page, seen):
        with subprocess.Popen([*command, "--out", str(site[0] / "new")], stdout=subprocess.DEVNULL) as training:
            page.get_by_role("link", name="new").click(timeout=60_000)
            shows(page, "2/2", within=120_000)
            page.locator(".state-finished").wait_for(timeout=60_000)
            assert training.wait(60) == 0
        assert seen.errors == []


def test_memory_stays_flat_over_hundreds_of_changes(growing):
    import httpx2

    def memory(process):
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    with viewing(growing.parent) as (address, process), httpx2.Client(base_url=address, timeout=30) as client:
        rows = (growing / "metrics.jsonl").read_text(encoding="utf-8")
        sizes = []
        for number in range(400):
            write_whole(growing / "metrics.jsonl", rows.replace('"step": 2', f'"step": {number + 2}'))
            assert client.get("/run/mine?part=head").status_code == 200
            if number % 20 == 0:
                client.get("/run/mine?part=curves")
            if number % 40 == 39:
                sizes.append(memory(process))
        assert sizes[-1] < 1.1 * sizes[2], sizes
