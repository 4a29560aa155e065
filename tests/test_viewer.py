"""The viewer: what it shows of a folder of runs while they are written, and whom it shows it to."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from threading import Thread
from time import sleep
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from counterpoint.errors import ConfigError, RunError
from counterpoint.files import append_row, lock, write_whole
from counterpoint.reports.viewer.app import Viewer
from counterpoint.reports.viewer.bundle import MARK, write_bundle
from counterpoint.reports.viewer.drawn import sparkline
from counterpoint.reports.viewer.guard import Allowed, check_token
from counterpoint.reports.viewer.look import is_held, look_at, versions
from counterpoint.reports.viewer.names import coded, decoded
from counterpoint.reports.viewer.rows import asked_of, validation_curve
from counterpoint.reports.viewer.scan import scan
from counterpoint.reports.viewer.server import allowed
from counterpoint.reports.viewer.tail import Tail
from counterpoint.reports.viewer.texts import DASH, duration
from counterpoint.reports.viewer.watch import Watcher
from tests.synthetic_study import Shape, write_study

HOSTILE = "</script><script>alert(1)</script>\u202e\x00'\"& é/ü"


def copied(run, path):
    shutil.copytree(run.path, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_run):
    """A study of made-up runs, and two copies of a real one."""
    root = tmp_path_factory.mktemp("viewed")
    write_study(root / "study", cells=2, seeds=3, lost=4, shape=Shape(steps=20, tasks=16))
    for name in ("one", "two"):
        copied(tiny_run, root / name)
    return root


@pytest.fixture(scope="module")
def client(folder):
    return client_of(Viewer(folder))


def client_of(viewer, allowed=None, **options):
    return TestClient(viewer.app(allowed), base_url="http://127.0.0.1:8000", **options)


def links(html, pattern):
    return [one.replace("&amp;", "&") for one in re.findall(rf'href="({pattern})"', html)]


# Names


@pytest.mark.parametrize(
    "text", ["a/b", "", ".", "..", "a~b!", "x.y", ".hidden", HOSTILE, "x\udcff", "%2e%2e", "a" * 999]
)
def test_every_text_has_a_code_that_is_one_part_of_an_address_and_gives_it_back(text):
    code = coded(text)
    assert re.fullmatch(r"[A-Za-z0-9_=+,.!~-]+", code)
    assert code not in (".", "..")
    assert decoded(code) == text


@pytest.mark.parametrize("code", ["..", "../x", "!2", "!41", "é", "!ZZ", ""])
def test_what_is_no_code_stands_for_no_text(code):
    assert decoded(code) is None


# Lines of a file that is written


def test_a_tail_reads_on_and_a_torn_line_waits(tmp_path):
    file = tmp_path / "m.jsonl"
    tail = Tail(file)
    assert tail.rows() == []
    file.write_text('{"step": 1}\n{"st', encoding="utf-8")
    assert tail.rows() == [{"step": 1}]
    with file.open("a", encoding="utf-8") as out:
        out.write('ep": 2}\n')
    assert tail.rows() == [{"step": 1}, {"step": 2}]


def test_a_file_that_was_cut_replaced_or_deleted_is_read_anew(tmp_path):
    file = tmp_path / "m.jsonl"
    tail = Tail(file)
    for step in range(5):
        append_row(file, {"step": step})
    assert len(tail.rows()) == 5
    write_whole(file, '{"step": 0}\n')  # as a run that is resumed
    assert tail.rows() == [{"step": 0}]
    os.truncate(file, 0)
    assert tail.rows() == []
    append_row(file, {"step": 7})
    assert tail.rows() == [{"step": 7}]
    file.unlink()
    assert tail.rows() == []


def test_a_file_that_was_cut_and_grew_beyond_its_old_size_is_read_anew(tmp_path):
    file = tmp_path / "m.jsonl"
    tail = Tail(file)
    file.write_text('{"step": 1}\n{"step": 2}\n', encoding="utf-8")
    assert len(tail.rows()) == 2
    file.write_text('{"step": 1}\n{"step": 9}\n{"step": 10}\n', encoding="utf-8")
    assert [row["step"] for row in tail.rows()] == [1, 9, 10]


def test_a_damaged_line_is_named_and_read_once_it_is_whole(tmp_path):
    file = tmp_path / "m.jsonl"
    tail = Tail(file)
    file.write_text('{"step": 1}\nnonsense\n', encoding="utf-8")
    with pytest.raises(RunError, match=r"m\.jsonl, line 2 is damaged"):
        tail.rows()
    file.write_text('{"step": 1}\n{"step": 2}\n', encoding="utf-8")
    assert len(tail.rows()) == 2


# What is in a folder


def test_runs_and_studies_are_found_and_links_are_not_entered(tmp_path, tiny_run):
    copied(tiny_run, tmp_path / "in" / "deep" / "run")
    copied(tiny_run, tmp_path / "elsewhere" / "secret")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    found = scan(tmp_path / "in")
    assert list(found.runs) == ["deep~run"]
    assert found.studies == {}


def test_a_folder_that_is_itself_a_run_is_one_run_with_its_name(tiny_run):
    (place,) = scan(tiny_run.path).runs.values()
    assert (place.name, place.path) == (tiny_run.path.name, tiny_run.path)
    html = client_of(Viewer(tiny_run.path)).get(f"/run/{place.id}").text
    assert f"<h1><bdi>{tiny_run.path.name}</bdi></h1>" in html
    assert "No log in this folder" in html
    assert "cannot be read" not in html


def test_a_file_of_a_run_that_is_a_link_out_of_the_folder_is_not_read(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "in" / "run")
    (tmp_path / "secret.toml").write_text("secret = 'hidden words'", encoding="utf-8")
    (run / "config.toml").unlink()
    (run / "config.toml").symlink_to(tmp_path / "secret.toml")
    client = client_of(Viewer(tmp_path / "in"))
    for path in ("/", "/run/run", "/run/run/episodes"):
        html = client.get(path).text
        assert "hidden words" not in html
        assert "config.toml is a link to a place outside the folder" in html


def pipe(file):
    os.mkfifo(file)


def device(file):
    file.symlink_to("/dev/zero")


def giant(file):
    with file.open("wb") as opened:
        opened.truncate(10 << 30)


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.toml", "run.json", "summary.json", "run.lock"])
@pytest.mark.parametrize("make", [pipe, device, giant])
def test_a_pipe_a_device_or_a_giant_file_is_named_and_never_read(tmp_path, tiny_run, make, name):
    run = copied(tiny_run, tmp_path / "in" / "run")
    (run / name).unlink()
    make(run / name)
    client = client_of(Viewer(tmp_path / "in"))
    for path in ("/", "/run/run", "/run/run/episodes"):
        html = client.get(path).text
        assert f"{name} is " in html or f"{name} has 10,737,418,240 bytes" in html


@pytest.mark.parametrize("make", [pipe, giant])
def test_the_page_of_a_study_names_the_run_that_is_not_read(tmp_path, make):
    write_study(tmp_path / "study", cells=1, seeds=1)
    (run,) = scan(tmp_path).runs.values()
    (run.path / "metrics.jsonl").unlink()
    make(run.path / "metrics.jsonl")
    client = client_of(Viewer(tmp_path))
    assert "metrics.jsonl" in client.get("/study/study").text
    assert "metrics.jsonl" in client.get("/study/study?part=map").text


def test_episodes_behind_a_link_out_of_the_folder_are_not_read(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "in" / "run")
    file = next((run / "evaluations" / "test").glob("*.parquet"))
    shutil.move(file, tmp_path / "moved.parquet")
    file.symlink_to(tmp_path / "moved.parquet")
    answer = client_of(Viewer(tmp_path / "in")).get(f"/run/run/episodes?split=test&step={int(file.stem)}")
    assert (answer.status_code, "is a link to a place outside" in answer.text) == (422, True)


def test_a_run_is_running_while_somebody_works_on_it_and_looking_keeps_no_lock(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "run")
    assert not is_held(run)
    descriptor = lock(run / "run.lock")
    try:
        assert is_held(run)
        assert "state-running" in client_of(Viewer(tmp_path)).get("/").text
    finally:
        os.close(descriptor)
    for _ in range(50):
        is_held(run)
        os.close(lock(run / "run.lock"))


def test_viewing_writes_nothing_into_the_folder(tmp_path, tiny_run):
    copied(tiny_run, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    client = client_of(Viewer(tmp_path))
    for path in ("/", "/run/run", "/run/run/episodes", "/compare?a=run&b=run"):
        assert client.get(path).status_code == 200
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


# Pages


def test_every_page_that_is_linked_to_is_there(client):
    seen, left = set(), ["/"]
    while left and len(seen) < 60:
        path = left.pop(0)
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "This part cannot be read" not in answer.text or "state-debris" in answer.text, path
        found = [link for link in links(answer.text, r"/[^\"]*") if not re.match(r"/static|/\?sort", link)]
        left += [link for link in dict.fromkeys(found[:12]) if link not in seen and link not in left]
    assert any("/episode/" in path for path in seen)
    assert any("/study/" in path for path in seen)


def test_the_table_is_searched_filtered_and_sorted_by_the_address(client):
    def names(query):
        return links(client.get(f"/?{query}").text, r"/run/[^\"/]+")

    everything = names("")
    assert len(everything) >= 5
    assert names("q=one") == ["/run/one"]
    assert names("q=ONE+voting") == ["/run/one"]
    assert names("q=nothing-like-that") == []
    assert names("sort=-name") == everything[::-1]
    assert set(names("study=study")) == {name for name in everything if "study~" in name}
    assert names("state=finished&q=two") == ["/run/two"]
    assert names("sort=nonsense") == everything


def test_rows_without_a_value_come_last_whichever_way_they_are_sorted(client):
    for sort in ("step", "-step"):
        html = client.get(f"/?sort={sort}").text
        assert html.index("state-debris") > html.rindex("state-finished")


def test_the_page_of_a_study_has_every_cell_and_its_state(client, folder):
    html = client.get("/study/study").text
    for cell in json.loads((folder / "study" / "cells.json").read_text(encoding="utf-8"))["cells"]:
        assert cell["name"] in html
    assert "state-absent" in html


def test_the_page_of_a_study_does_not_wait_for_its_map(folder):
    viewer = Viewer(folder)
    client = client_of(viewer)
    assert '<div class="part" data-part="map" data-version="">' in client.get("/study/study").text
    made = client.get("/study/study?part=map").text
    assert viewer.site.versions("/study/study")["map"] in made
    assert made.strip() in client.get("/study/study").text


def test_a_part_is_the_section_of_its_page(client):
    page, part = client.get("/run/one").text, client.get("/run/one?part=roles").text
    assert part.strip() in page
    assert part.count("data-part") == 1
    assert client.get("/run/one?part=nonsense").status_code == 404


def test_versions_name_the_parts_that_changed(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "run")
    before = versions(look_at(run))
    append_row(run / "metrics.jsonl", {"step": 3, "time/step": 1.0})
    after = versions(look_at(run))
    assert {part for part in before if before[part] != after[part]} == {"head", "warnings", "curves", "roles"}


def test_a_step_that_is_written_is_on_the_page_and_one_that_is_taken_back_is_not(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "run")
    (run / "summary.json").unlink()
    client = client_of(Viewer(tmp_path))
    kept = (run / "metrics.jsonl").read_text(encoding="utf-8")
    row = {**json.loads(kept.splitlines()[-1]), "step": 41, "warning/cliff": 1.0}
    append_row(run / "metrics.jsonl", row)
    assert '<span class="steps">41/2</span>' in client.get("/run/run?part=head").text
    assert "cliff" in client.get("/run/run?part=warnings").text
    write_whole(run / "metrics.jsonl", kept)
    assert '<span class="steps">2/2</span>' in client.get("/run/run?part=head").text
    assert "<bdi>cliff</bdi>" not in client.get("/run/run?part=warnings").text


def test_new_runs_appear_and_deleted_ones_go(tmp_path, tiny_run, monkeypatch):
    monkeypatch.setattr("counterpoint.reports.viewer.site._SCANNED", 0.0)
    viewer = Viewer(tmp_path)
    client = client_of(viewer)
    assert "There are no runs in this folder yet" in client.get("/").text
    first = viewer.site.versions("/")
    copied(tiny_run, tmp_path / "late")
    assert links(client.get("/").text, r"/run/[^\"]+") == ["/run/late"]
    assert viewer.site.versions("/") != first
    shutil.rmtree(tmp_path / "late")
    assert client.get("/run/late").status_code == 404
    assert viewer.site.versions("/run/late") == {}
    assert viewer.site.versions("/") == first


def test_a_damaged_file_is_told_where_its_numbers_would_be(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"step": 1}\nbroken\n', encoding="utf-8")
    answer = client_of(Viewer(tmp_path)).get("/run/run")
    assert answer.status_code == 200
    assert "metrics.jsonl, line 2 is damaged" in answer.text
    assert 'data-part="recipe"' in answer.text


@pytest.mark.parametrize("name", [HOSTILE.replace("/", "").replace("\x00", ""), "a b", "%2e%2e", "x?y#z", "ünï"])
def test_a_run_of_any_name_has_a_page(tmp_path, tiny_run, name):
    copied(tiny_run, tmp_path / name)
    client = client_of(Viewer(tmp_path))
    (link,) = links(client.get("/").text, r"/run/[^\"]+")
    answer = client.get(link)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("metrics.jsonl", '{"step": Infinity}'),
        ("metrics.jsonl", '{"step": 1, "time/step": "long"}'),
        ("metrics.jsonl", "[" * 100_000),
        ("evaluations.jsonl", '{"step": Infinity, "accuracy": 0.5, "split": "validation"}'),
    ],
)
def test_a_damaged_run_hides_no_other_in_the_tables(tmp_path, name, line):
    write_study(tmp_path / "study", cells=1, seeds=2, shape=Shape(steps=5, tasks=4))
    bad, good = scan(tmp_path).runs.values()
    with (bad.path / name).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    client = client_of(Viewer(tmp_path))
    for page in ("/", "/study/study"):
        answer = client.get(page)
        assert answer.status_code == 200
        assert f'href="/run/{bad.id}"' in answer.text
        assert f'href="/run/{good.id}"' in answer.text
        assert "state-unreadable" in answer.text


def test_a_time_that_is_no_number_is_a_dash():
    assert [duration(seconds) for seconds in (float("nan"), float("inf"), None)] == [DASH] * 3


def test_two_threads_that_read_a_run_read_every_line_once(tmp_path, tiny_run, monkeypatch):
    copied(tiny_run, tmp_path / "run")
    pages = Viewer(tmp_path).pages
    (place,) = pages.site.places.runs.values()
    take, read = Tail._take, []

    def slowly(tail, new):
        sleep(0.05)
        take(tail, new)
        read.append((tail._path.name, len(tail._rows)))

    monkeypatch.setattr(Tail, "_take", slowly)
    monkeypatch.setattr(pages, "seen", lambda place: SimpleNamespace(findings=()))
    threads = [Thread(target=part, args=[place]) for part in (pages._warnings, pages._roles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = len((tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    assert {count for name, count in read if name == "metrics.jsonl"} == {lines}


def test_hostile_text_of_a_run_is_text(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "run")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    routing = {HOSTILE: HOSTILE, "generator": "shared"}
    write_whole(run / "run.json", json.dumps({**facts, "recipe": HOSTILE, "routing": routing, "error": HOSTILE}))
    (run / "summary.json").unlink()
    client = client_of(Viewer(tmp_path))
    for path in ("/", "/run/run", "/run/run/episodes"):
        html = re.sub(r'value="[^"]*"', "", client.get(path).text)
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert "\x00" not in html


def test_an_episode_has_a_stable_address_for_any_task(tmp_path, tiny_run):
    import polars as pl

    run = copied(tiny_run, tmp_path / "run")
    file = sorted((run / "episodes").glob("*.parquet"))[-1]
    frame = pl.read_parquet(file)
    first = frame["task"][0]
    renamed = pl.when(pl.col("task") == first).then(pl.lit(HOSTILE)).otherwise("task").alias("task")
    frame.with_columns(renamed).write_parquet(file)
    step = int(file.stem)
    answer = client_of(Viewer(tmp_path)).get(f"/run/run/episode/{step}/{coded(HOSTILE)}/0")
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "no credit" in answer.text  # the samples have the task under its old name


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/run/one/episodes?step=77", 404),
        ("/run/one/episodes?split=nonsense", 404),
        ("/run/one/episodes?outcome=nonsense", 400),
        ("/run/one/episodes?page=-1", 400),
        ("/run/one/episodes?step=1e9", 400),
        ("/run/one/episode/1/nonsense/0", 404),
        ("/run/one/episode/x/nonsense/0", 404),
        ("/run/one/episode/1/..%2f..%2fx/0", 404),
        ("/run/..%2f", 404),
        ("/run/%2e%2e/episodes", 404),
        ("/run/nobody", 404),
        ("/study/one", 404),
        ("/static/x/..%2f..%2fbase.html", 404),
        ("/nonsense", 404),
        ("/run/one/", 404),
        ("/compare?a=one&b=one&step=999", 200),
    ],
)
def test_what_is_not_there_is_told_as_a_page(client, path, status):
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == status
    assert "<h1>" in answer.text


def test_two_runs_are_compared_on_a_task(client):
    html = client.get("/compare?a=one&b=two&split=test").text
    (first, *_) = links(html, r"/compare[^\"]*task=[^\"]*")
    assert "data-episode" in client.get(first).text


def test_nothing_that_a_run_names_is_executed(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "run")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')", encoding="utf-8")
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(f'signatures = ["{tmp_path}/evil.py:find"]\n' + text, encoding="utf-8")
    assert client_of(Viewer(tmp_path)).get("/run/run").status_code == 200
    assert not (tmp_path / "executed").exists()


def test_an_open_episode_follows_a_run_that_is_resumed(tmp_path, tiny_run):
    run = copied(tiny_run, tmp_path / "run")
    viewer = Viewer(tmp_path)
    client = client_of(viewer)
    (address, *_) = links(client.get("/run/run/episodes?split=train").text, r"/run/run/episode/[^\"]*")
    html = client.get(address).text
    subject = json.loads(re.search(r'id="subject">(.*?)</script>', html)[1])["path"]
    ((part, version),) = viewer.site.versions(subject).items()
    assert f'data-part="{part}" data-version="{version}"' in html
    assert client.get(f"{address}?part={part}").text in html
    file = run / "episodes" / f"{int(address.split('/')[4]):06d}.parquet"
    os.utime(file, (1, 1))
    assert viewer.site.versions(subject)[part] != version
    file.unlink()
    assert viewer.site.versions(subject) == {}
    assert client.get(f"{address}?part={part}").status_code == 404


@pytest.mark.parametrize(
    "page", ["episode", "episode/x/train", "episode/1/../../one", "episode/1/..", f"episode/{'9' * 5000}/train", "\0"]
)
def test_a_subject_that_is_nonsense_has_no_versions(client, page):
    assert client.get("/versions", params={"of": f"/run/one/{page}"}).json()["parts"] == {}


# Who may ask


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_this_machine_may_ask_by_its_own_names(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost:x"]
)
def test_another_name_is_refused_with_400(client, host):
    assert client.get("/", headers={"host": host}).status_code == 400


def test_a_name_that_is_allowed_is_answered_to(folder):
    client = client_of(Viewer(folder), allowed("127.0.0.1", ["My.Machine"], None))
    assert client.get("/", headers={"host": "my.machine:80"}).status_code == 200
    everywhere = allowed("0.0.0.0", [], "x" * 20)
    assert everywhere.knows("10.1.2.3:80")
    assert not everywhere.knows("evil.example")


def test_only_get_and_head_are_allowed(client):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = client.request(method, "/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert client.head("/").status_code == 200


def test_every_answer_has_the_headers_that_keep_other_sites_out(client):
    style = re.search(r'href="(/static/[^"]+css)"', client.get("/").text)[1]
    for path in ("/", style, "/nonsense", "/versions?of=/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    assert client.get("/", headers={"host": "evil.example"}).headers["x-content-type-options"] == "nosniff"


def test_another_site_may_link_to_the_viewer_but_not_load_from_it(client):
    foreign = {"sec-fetch-site": "cross-site"}
    assert client.get("/", headers={**foreign, "sec-fetch-mode": "navigate"}).status_code == 200
    assert client.get("/versions?of=/", headers={**foreign, "sec-fetch-mode": "no-cors"}).status_code == 403


def test_without_the_token_nothing_is_shown_and_a_cookie_follows_the_first_link(folder):
    token = "a secret that is long enough"
    client = client_of(Viewer(folder), Allowed(token=token))
    for path in ("/", "/?token=wrong", "/events?of=/", "/static/x/page.css"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert "study" not in answer.text
    answer = client.get("/run/one?part=head&token=" + token.replace(" ", "%20"), follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/run/one?part=head")
    assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["set-cookie"].split("; "))
    assert client.get("/run/one").status_code == 200
    client.cookies.clear()
    assert client.get("/", headers={"cookie": "counterpoint-view=zz; x"}).status_code == 401


def test_the_answer_to_a_token_never_leads_to_another_site(folder):
    client = client_of(Viewer(folder), Allowed(token="t" * 20))
    answer = client.get("//evil.example/?token=" + "t" * 20, follow_redirects=False)
    assert not answer.headers.get("location", "/").startswith("//")


@pytest.mark.parametrize("token", ["", "short", "é" * 20, "x\n" * 20])
def test_a_token_that_keeps_nobody_out_is_refused(token):
    with pytest.raises(ConfigError, match="--token: at least 16"):
        check_token(token)


def test_static_files_are_kept_for_ever_under_a_name_that_changes_and_pages_are_asked_for_again(client):
    html = client.get("/")
    for path in re.findall(r'(?:href|src|data-vega)="(/static/[^"]+)"', html.text):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert html.headers["cache-control"] == "private, no-cache"
    assert client.get("/", headers={"if-none-match": html.headers["etag"]}).status_code == 304
    assert "no-store" in client.get("/static/older/page.css").headers["cache-control"]


# What changes


def test_a_page_is_told_of_its_versions_and_then_of_changes_alone():
    async def told():
        parts = {"head": "1"}
        looks = []

        def versions_of(subject):
            looks.append(subject)
            return dict(parts)

        watcher = Watcher(versions_of, pace=0.01)
        page, other = watcher.join("/run/a"), watcher.join("/run/a")
        first = await asyncio.wait_for(page.changes(), 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(page.changes(), 0.1)
        parts["head"] = "2"
        second = await asyncio.wait_for(page.changes(), 2)
        watcher.leave(page)
        watcher.leave(other)
        watcher.leave(other)
        await asyncio.sleep(0.05)
        count = len(looks)
        await asyncio.sleep(0.05)
        return first, second, watcher.open_pages, len(looks) - count

    assert asyncio.run(told()) == ({"head": "1"}, {"head": "2"}, 0, 0)


def test_a_stream_tells_versions_stays_alive_and_ends_with_the_server(folder):
    async def heard():
        viewer = Viewer(folder, pace=0.01, ping=0.05)
        stream = viewer._stream(viewer.watcher.join("/run/one"))
        said = [await asyncio.wait_for(anext(stream), 5) for _ in range(3)]
        viewer.ending.set()
        rest = [one async for one in stream]
        return said, rest, viewer.watcher.open_pages

    said, rest, open_pages = asyncio.run(heard())
    assert said[0].startswith("retry:")
    told = [json.loads(one.removeprefix("data: ")) for one in said if one.startswith("data")]
    assert set(told[0]["parts"]) >= {"head", "curves", "log"}
    assert any(one.startswith("event: ping") for one in said + rest)
    assert open_pages == 0


def test_a_question_for_the_head_of_a_stream_is_answered_at_once(folder):
    viewer = Viewer(folder)
    assert client_of(viewer).head("/events?of=/").status_code == 200
    assert viewer.watcher.open_pages == 0


def test_a_browser_without_streams_asks_for_versions(client):
    assert set(client.get("/versions?of=/study/study").json()["parts"]) == {"runs", "map"}
    assert client.get("/versions?of=/run/nobody").json()["parts"] == {}
    assert client.get("/versions?of=../../etc").json()["parts"] == {}


def test_a_thousand_changes_leave_nothing_behind(folder):
    viewer = Viewer(folder)
    for number in range(1_000):
        viewer.site.kept.get("part", number, lambda: "x" * 1_000)
        if number % 50 == 0:
            viewer.site.row(viewer.site.places.runs["one"], {**look_at(folder / "one"), "held": (number,)})
    assert len(viewer.site.kept._values) == 1
    assert len(viewer.site._rows._values) == 1


# Small pictures, and lines without their ends


def test_a_sparkline_goes_from_the_first_point_to_the_last():
    html = str(sparkline([(0, 0.25), (5, 0.75), (10, 0.5)], 20))
    points = [tuple(map(float, one.split(","))) for one in re.search(r'points="([^"]+)"', html)[1].split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[1][1] < points[2][1] < points[0][1]
    assert "from 25% to 50%, best 75%" in html
    assert str(sparkline([(0, 0.5)], 20)) == ""
    assert "nan" not in str(sparkline([(0, float("nan")), (1, 0.5), (2, 0.5)], None))


def test_the_validation_curve_is_read_from_beginnings_of_lines_and_survives_damage(tmp_path):
    file = tmp_path / "e.jsonl"
    rows = [{"step": 0, "accuracy": 0.5, "split": "validation"}, {"step": 1, "accuracy": 0.1, "split": "test"}]
    text = "".join(json.dumps({**row, "outcomes": {}}) + "\n" for row in rows)
    file.write_text(text + 'damage\n{"split": "validation", "accuracy": 1, "step": 2}\n{"step": 3', encoding="utf-8")
    assert validation_curve(file) == [(0, 0.5), (2, 1.0)]
    assert validation_curve(tmp_path / "none") == []


def test_an_address_that_asks_for_nonsense_shows_the_table():
    asked = asked_of({"sort": "-nonsense", "state": "", "foo": "bar", "q": "x" * 999})
    assert (asked.sort, asked.only, len(asked.words)) == ("name", {}, 200)


# The same pages as files


def test_a_bundle_has_every_page_that_it_links_to(folder, tmp_path):
    out = tmp_path / "out"
    (*problems, last) = write_bundle(folder, out)
    assert len(problems) == 1  # the run whose creation was killed
    assert "index.html" in last
    pages = list(out.rglob("*.html"))
    assert len([page for page in pages if "train-" in page.parent.name]) > 3
    for page in pages:
        html = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href|src|data-vega)="([^"#][^"]*)"', html):
            if not link.startswith("data:"):
                assert not link.startswith(("/", "http")), link
                assert (page.parent / link).is_file(), f"{page}: {link}"


def test_a_bundle_replaces_an_earlier_one_and_nothing_else(folder, tmp_path):
    out = tmp_path / "out"
    write_bundle(folder, out)
    (out / "old.html").write_text("", encoding="utf-8")
    write_bundle(folder, out)
    assert not (out / "old.html").exists()
    assert (out / MARK).is_file()
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(RunError, match="name a new folder, or an earlier bundle"):
        write_bundle(folder, mine)
    with pytest.raises(RunError, match="nothing is written beside the runs"):
        write_bundle(folder, folder / "out")


def test_a_bundle_never_takes_the_place_of_the_runs_in_it(tmp_path, tiny_run):
    copied(tiny_run, tmp_path / "site" / "runs" / "run")
    (tmp_path / "site" / MARK).write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="lies in --bundle"):
        write_bundle(tmp_path / "site" / "runs", tmp_path / "site")
    assert (tmp_path / "site" / "runs" / "run" / "metrics.jsonl").is_file()


def test_the_commands_of_the_page_work(folder, tmp_path, monkeypatch, capsys):
    from counterpoint.cli.main import main

    page = Path(__file__).parent.parent / "docs" / "viewer.md"
    (block,) = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "runs").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", block.split())
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "site/index.html" in capsys.readouterr().out
    assert (tmp_path / "site" / "index.html").is_file()
