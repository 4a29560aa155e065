"""Episodes in a browser: they fit, everybody can read them, keys walk through them, and hostile text does nothing."""

from dataclasses import replace

import pytest
from browser import WIDTHS, opened, overflow, violations
from facts import make_call, make_episode, user, vote

from counterpoint.episode import Answer, Unreadable
from counterpoint.reports.assets import inlined
from counterpoint.reports.episodes.listing import Around, Rollout
from counterpoint.reports.episodes.pairing import pair_view
from counterpoint.reports.episodes.view import episode_view
from counterpoint.reports.episodes.words import chip_of_value
from counterpoint.reports.markup import environment

pytestmark = pytest.mark.slow
PAGE = """{% extends "base.html" %}
{% from "_episode.html" import episode %}{% from "_pair.html" import pair %}
{% block main %}<h1>Episodes</h1>
{% for view in views %}{{ episode(view, 2, around if loop.first else none, address) }}{% endfor %}
{% if both %}{{ pair(both) }}{% endif %}{% endblock %}"""
AROUND = Around(
    rollouts=tuple(Rollout(task="t", rollout=place, chip=chip_of_value(place % 2)) for place in range(3)),
    before=("before", 0),
    after=("after", 0),
)


def page_of(path, *episodes, both=False):
    roles = ["generator", "aggregator", "judge"]
    views = [
        episode_view(one, {} if place else None, roles, anchor=f"e{place}", where="step 3")
        for place, one in enumerate(episodes)
    ]
    pair = (
        pair_view(*(replace(view, anchor=view.anchor) for view in views[-2:]), names=("one", "two")) if both else None
    )
    shown = views[:-2] if both else views
    text = (
        environment()
        .from_string(PAGE)
        .render(
            assets=inlined(("episode.css",), ("episode.js",)),
            views=shown,
            around=AROUND,
            address=lambda task, rollout: f"#to-{task}-{rollout}",
            both=pair,
        )
    )
    path.write_text(text, encoding="utf-8")
    return path


def many_roles():
    """An episode of twelve roles with long replies, code, reasoning, and a very long word."""
    texts = ["word " * 200, "```python\n" + "x = 1  # " + "y" * 300 + "\n```", "z" * 3_000, r"\[ x^2 \]"]
    calls = [
        make_call(
            f"role_{place}_with_a_name",
            text=texts[place % 4],
            reasoning="hm " * 50,
            messages=(user(f"asked {place} " + "q" * 200),),
            claim=Answer("2" * 200),
            score=place % 2,
            finish="length",
        )
        for place in range(12)
    ]
    return make_episode(*calls, task="task-" + "long" * 40)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_episodes_fit_and_can_be_read_by_everybody(tmp_path, browser, width, theme):
    failed = replace(make_episode(error="ValueError: " + "x" * 500, answer=None), traceback="  File " + "y" * 400)
    votes = vote([("4", 1.0), ("5", 0.0), ("6", 0.5)], 0)
    page = page_of(tmp_path / "page.html", votes, many_roles(), failed, votes, votes, both=True)
    with opened(browser, page, width=width, theme=theme) as (shown, seen):
        assert overflow(shown) == 0
        assert not violations(shown)
        assert not seen.errors
        assert not seen.requests


def test_keys_walk_through_calls_rollouts_and_tasks(tmp_path, browser):
    page = page_of(tmp_path / "page.html", vote([("4", 1.0), ("5", 0.0)], 0))
    with opened(browser, page) as (shown, seen):
        focused = "document.activeElement.id"
        for key, expected in (("j", "e0-1"), ("j", "e0-2"), ("j", "e0-3"), ("j", "e0-3"), ("k", "e0-2")):
            shown.keyboard.press(key)
            assert shown.evaluate(focused) == expected
        for key, expected in (("2", "#to-t-1"), ("n", "#to-after-0"), ("p", "#to-before-0"), ("9", "#to-before-0")):
            shown.keyboard.press(key)
            assert shown.evaluate("location.hash") == expected
        assert not shown.locator("details.keys").evaluate("keys => keys.open")
        shown.keyboard.press("?")
        assert shown.locator("details.keys").evaluate("keys => keys.open")
        shown.evaluate("document.body.insertAdjacentHTML('beforeend', '<input id=typing>')")
        shown.locator("#typing").press("j")
        assert shown.evaluate(focused) == "typing"
        assert not seen.errors


def test_a_link_to_a_call_goes_there_without_a_script(tmp_path, browser):
    page = page_of(tmp_path / "page.html", vote([("4", 1.0), ("5", 0.0)], 0))
    with opened(browser, page, java_script_enabled=False) as (shown, _):
        shown.get_by_role("link", name="generator slot 0").last.click()
        assert shown.url.endswith("#e0-1")


def test_hostile_text_does_nothing_and_a_long_line_does_not_hang_the_page(tmp_path, browser):
    hostile = "</script><script>document.title='bad'</script><img src=x onerror=\"document.title='bad'\">\u202e\x00"
    call = make_call("generator", text=hostile + "x" * 1_000_000, claim=Unreadable(hostile), reasoning=hostile)
    episode = replace(make_episode(call, answer=hostile), problem=hostile, key=hostile)
    page = page_of(tmp_path / "page.html", episode)
    with opened(browser, page, width=360) as (shown, seen):
        assert shown.title() == "Counterpoint"
        assert "<img src=x onerror=" in shown.locator(".reply").first.inner_text()
        assert overflow(shown) == 0
        shown.locator("details.more > summary").first.click()
        assert (
            shown.evaluate(
                "(() => { const start = performance.now(); document.body.offsetHeight;"
                " return performance.now() - start; })()"
            )
            < 2_000
        )
        assert not seen.errors
        assert not seen.requests
