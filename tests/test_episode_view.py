"""Episodes as pages: columns, rows, what is new in prompts, links, verdicts, and text that means no good."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import count

import pytest
from facts import assistant, make_call, make_episode, user, vote

from counterpoint.episode import Answer, CallKey, Choice, Unreadable, Verdict
from counterpoint.options import Spec
from counterpoint.reports.episodes.shown import CHUNK, REPORT_LIMIT, shown, visible
from counterpoint.reports.episodes.view import episode_view
from counterpoint.reports.markup import environment
from counterpoint.task import not_judged
from counterpoint.testing.by_hand import play_by_hand
from counterpoint.workflows import load_workflow

KEY = "4"
GOOD, BAD = r"So it is four. \boxed{4}", r"So it is five. \boxed{5}"
APPROVES, REJECTS = r"It is right. \boxed{correct}", r"It is wrong. \boxed{incorrect}"
STRATEGIES = "Strategy 1: count forward\nStrategy 2: count back\nStrategy 3: guess"


def played(name, replies, **options):
    """An episode of a shipped workflow: role -> its replies in order, the last one again and again."""
    said = {role: iter(texts) for role, texts in replies.items()}
    last = {role: texts[-1] for role, texts in replies.items()}
    workflow = load_workflow(Spec(name=name, **options))
    return play_by_hand(workflow, lambda role, prompt: next(said[role], last[role]), key=KEY)


def seen(episode, samples=None, roles=(), **options):
    return episode_view(episode, samples, roles, **options)


def html(view, **options):
    return str(environment().get_template("_episode.html").module.episode(view, **options))


def links(view):
    """Name of a call -> words -> the names of the calls that it is linked to."""
    return {call.name: {group.words: [one.name for one in group.to] for group in call.links} for call in view.calls}


def rows(view):
    return [[call.name for cell in row for call in cell.calls] for row in view.rows]


def asks(call):
    """What is new in a prompt: its text, with `<name>` for what it quotes."""
    return "|".join(
        "".join(f"<{part.quoted.name}>" if part.quoted else part.text for part in message.parts)
        for message in call.prompt.new
    )


class Page(HTMLParser):
    """The elements, ids, addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.addresses, self.handlers, self.data = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            {"id": self.ids, "href": self.addresses}.get(name, []).append(value)
            self.handlers += [name] if name.startswith("on") or name in ("style", "src") else []

    def handle_data(self, data):
        self.data.append(data)


# Every shipped workflow


def test_voting_has_its_drafts_on_one_row_and_its_choice_on_the_next():
    view = seen(played("voting", {"generator": [BAD, GOOD, GOOD], "aggregator": [r"\boxed{2}"]}))
    assert rows(view) == [["generator slot 0", "generator slot 1", "generator slot 2"], ["aggregator"]]
    assert view.layout == "rails"
    assert links(view) == {
        "generator slot 0": {"not chosen by": ["aggregator"]},
        "generator slot 1": {"chosen by": ["aggregator"]},
        "generator slot 2": {"not chosen by": ["aggregator"]},
        "aggregator": {},
    }
    choice = view.calls[-1]
    assert (choice.claim.before, choice.claim.about.name, choice.claim.after) == ("chooses", "generator slot 1", "of 3")
    assert [call.chip.word for call in view.calls] == ["wrong", "right", "right", "right"]


def test_the_prompt_of_a_choice_is_folded_to_references_to_the_drafts():
    view = seen(played("voting", {"generator": [BAD, GOOD, GOOD], "aggregator": [r"\boxed{2}"]}))
    new = asks(view.calls[-1])
    assert new.startswith("Problem: <the problem>\nSolution 1: <generator slot 0>\nSolution 2: <generator slot 1>")
    assert "<generator slot 2>" in new
    assert "So it is" not in new
    assert view.calls[1].prompt.same_as.name == "generator slot 0"
    assert view.calls[-1].prompt.whole[0].text.chunks[0][0].text.count("So it is") == 3


def test_refining_zigzags_between_two_columns_and_each_prompt_shows_its_new_messages_alone():
    replies = {"generator": [BAD, GOOD], "evaluator": [REJECTS, APPROVES]}
    view = seen(played("evaluator_optimizer", replies))
    assert rows(view) == [["generator turn 0"], ["evaluator turn 0"], ["generator turn 1"], ["evaluator turn 1"]]
    assert view.layout == "two"
    assert links(view) == {
        "generator turn 0": {"rejected by": ["evaluator turn 0"]},
        "evaluator turn 0": {"read by": ["generator turn 1"]},
        "generator turn 1": {"read": ["evaluator turn 0"], "approved by": ["evaluator turn 1"]},
        "evaluator turn 1": {},
    }
    again = view.calls[2].prompt
    assert (again.earlier, again.since.name) == (2, "generator turn 0")
    assert asks(view.calls[2]).startswith("A reviewer says about your solution: <evaluator turn 0>\nWrite a better")
    assert asks(view.calls[3]).startswith("New solution: <generator turn 1>")
    assert [call.claim.before for call in view.calls] == ["answers 5", "rejects", "answers 4", "approves"]


def test_of_equal_drafts_of_two_turns_the_later_one_is_quoted():
    view = seen(played("evaluator_optimizer", {"generator": [BAD], "evaluator": [REJECTS]}, rounds=3))
    assert asks(view.calls[5]).startswith("New solution: <generator turn 2>")


def test_a_joint_transcript_shows_the_review_that_it_ends_with():
    replies = {"generator": [BAD, GOOD], "evaluator": [REJECTS, APPROVES]}
    view = seen(played("evaluator_optimizer", replies, transcripts="joint"))
    second = view.calls[2]
    assert second.prompt.new[0].role == "assistant"
    assert second.prompt.new[0].parts[0].quoted.name == "evaluator turn 0"
    assert "evaluator turn 0" in links(view)["generator turn 1"]["read"]


def test_workers_follow_the_orchestrator_in_both_directions():
    replies = {"orchestrator": [STRATEGIES], "worker": [BAD, GOOD, GOOD], "synthesizer": [GOOD]}
    view = seen(played("orchestrator_workers", replies))
    found = links(view)
    workers = [f"worker slot {slot}" for slot in range(3)]
    assert rows(view) == [["orchestrator"], workers, ["synthesizer"]]
    assert found["orchestrator"] == {"followed by": workers}
    assert found["worker slot 1"]["follows"] == ["orchestrator"]
    assert found["synthesizer"]["read"] == workers
    assert view.calls[0].chip.word == "partly: 0.67"


def test_an_orchestrator_that_cannot_be_read_leaves_two_roles_uncalled():
    roles = ["orchestrator", "worker", "synthesizer"]
    view = seen(played("orchestrator_workers", {"orchestrator": ["none"]}), roles=roles)
    assert view.not_called == ("worker", "synthesizer")
    assert view.calls[0].claim.before == "cannot be read: no strategies"
    assert "Not called:" in html(view)


def test_debaters_read_each_other_and_continue_their_own_conversations():
    replies = {"debater": [BAD, GOOD, GOOD, "It stays so. " + GOOD], "judge": [r"\boxed{1}"]}
    view = seen(played("debate", replies))
    assert rows(view) == [
        ["debater slot 0 turn 0", "debater slot 1 turn 0"],
        ["debater slot 0 turn 1", "debater slot 1 turn 1"],
        ["judge"],
    ]
    assert view.calls[2].prompt.since.name == "debater slot 0 turn 0"
    assert links(view)["debater slot 0 turn 1"]["read"] == ["debater slot 1 turn 0"]
    assert links(view)["debater slot 0 turn 1"]["chosen by"] == ["judge"]


def test_an_arbiter_that_is_not_asked_is_named():
    agreed = seen(played("tie_break", {"solver": [GOOD]}), roles=["solver", "arbiter"])
    assert agreed.not_called == ("arbiter",)
    argued = seen(played("tie_break", {"solver": [GOOD, BAD], "arbiter": [GOOD]}), roles=["solver", "arbiter"])
    assert links(argued)["arbiter"] == {"read": ["solver slot 0", "solver slot 1"]}


def test_best_of_has_all_drafts_before_all_verdicts():
    view = seen(played("best_of", {"generator": [BAD, GOOD, GOOD], "evaluator": [REJECTS, APPROVES, APPROVES]}))
    assert [len(row) for row in rows(view)] == [3, 3]
    assert links(view)["generator slot 0"] == {"rejected by": ["evaluator slot 0"]}


@pytest.mark.parametrize(("name", "calls"), [("majority", 4), ("single", 1)])
def test_one_role_alone_has_one_column(name, calls):
    view = seen(played(name, {"generator": [GOOD]}))
    assert len(view.calls) == calls
    assert (len(view.rows), view.layout) == (1, "one")


def test_twelve_roles_have_twelve_columns_in_time_order():
    names = [f"role_{place}" for place in range(12)]
    calls = [
        make_call(name, text=f"reply number {place} of all", messages=(user(f"asked {place}"),))
        for place, name in enumerate(names)
    ]
    view = seen(make_episode(*calls), roles=[*names[::-1], "nobody"])
    assert [column.role for column in view.columns] == names[::-1]
    assert rows(view) == [[name] for name in names]
    assert (view.layout, view.not_called, view.is_long) == ("rails", ("nobody",), True)
    page = Page(html(view))
    assert len(page.ids) == len(set(page.ids))


def test_voters_that_are_a_role_each_are_on_one_row_because_they_were_asked_the_same():
    voters = {f"generator_{place}": [GOOD] for place in range(1, 4)}
    view = seen(played("voting", {**voters, "aggregator": [r"\boxed{2}"]}, voters="distinct"))
    assert rows(view) == [["generator_1", "generator_2", "generator_3"], ["aggregator"]]


# Prompts


def test_system_messages_are_folded_and_a_second_prompt_does_not_repeat_them():
    system = {"role": "system", "content": "You are terse."}
    first = make_call(messages=(system, user("one")), text="the first reply")
    second = make_call(turn=1, messages=(system, user("one"), assistant("the first reply"), user("two")))
    view = seen(make_episode(first, second))
    assert [len(call.prompt.system) for call in view.calls] == [1, 0]
    assert [asks(call) for call in view.calls] == ["one", "two"]
    assert view.calls[1].prompt.earlier == 3
    assert "<summary>system: 14 characters</summary>" in html(view)


def test_one_message_that_grows_shows_its_new_end():
    start = "".join(f"line {number} of the log\n" for number in range(20))
    calls = [make_call(turn=turn, messages=(user(start + "and then\n" * turn + "go"),)) for turn in range(2)]
    second = seen(make_episode(*calls)).calls[1].prompt
    assert second.new[0].shared == len(start)
    assert second.new[0].parts[0].text == "and then\ngo"


def test_a_prompt_that_shares_nothing_with_the_last_one_is_shown_as_a_whole():
    calls = [make_call(messages=(user("one"),)), make_call(turn=1, messages=(user("two"),))]
    prompt = seen(make_episode(*calls)).calls[1].prompt
    assert (prompt.since, prompt.earlier, asks(seen(make_episode(*calls)).calls[1])) == (None, 0, "two")


# Verdicts and credit


def test_every_verdict_has_a_word_and_a_sign():
    drafts = [
        make_call(slot=0, claim=Answer("1"), score=1.0),
        make_call(slot=1, claim=Answer("2"), score=0.0),
        make_call(slot=2, claim=Answer("3"), score=0.25),
        make_call(slot=3, claim=Unreadable("no answer"), score=0.0),
        make_call(slot=4, claim=Answer("5")),
        make_call(slot=5),
    ]
    chips = [call.chip for call in seen(make_episode(*drafts)).calls]
    assert [chip.word for chip in chips] == ["right", "wrong", "partly: 0.25", "unreadable", "not judged", "no claim"]
    assert len({chip.sign for chip in chips}) == 6


def test_credit_says_reward_advantage_and_why_there_is_none():
    episode = vote([("4", 1.0), ("5", 0.0)], 0)
    drafts = [call.key for call in episode.calls]
    given = {
        drafts[0]: {"reward": 1.0, "advantage": 0.5, "signal": True, "in_loss": True},
        drafts[1]: {"reward": 0.0, "advantage": -0.5, "signal": True, "in_loss": False},
    }
    page = html(seen(episode, given))
    assert "reward <b>1</b>" in page
    assert "advantage <b>+0.500</b>" in page
    assert "advantage <b>\u22120.500</b>" in page
    assert "not in the loss" in page
    assert "no credit" in page
    assert "advantage" not in html(seen(episode, None))
    flat = {drafts[0]: {"reward": 1.0, "advantage": 0.0, "signal": False, "in_loss": True}}
    assert "no signal in its group" in html(seen(episode, flat))


def test_a_failed_episode_shows_its_error_and_its_traceback():
    frames = '  File "team.py", line 12, in team\n    return roles["odd"]'
    failed = replace(make_episode(make_call(), error="KeyError: 'odd'", answer=None), traceback=frames)
    page = html(seen(replace(failed, error_kind="overflow")))
    assert "Failed (workflow: a prompt is too long):" in page
    assert "return roles[&#34;odd&#34;]" in page
    empty = html(seen(replace(make_episode(error="RuntimeError", answer=None), error_kind="workflow")))
    assert "No role was called." in empty


def test_an_answer_that_was_not_judged_says_why():
    page = html(seen(replace(make_episode(make_call()), score=not_judged("the judge took too long"))))
    assert "not judged" in page
    assert "the judge took too long" in page


def test_a_claim_about_a_call_that_is_not_recorded_is_named_without_a_link():
    lost = CallKey("generator", 7, 0)
    episode = make_episode(
        make_call("evaluator", claim=Verdict(lost, True), score=1.0),
        make_call("aggregator", claim=Choice((lost,), 0), score=1.0),
    )
    page = Page(html(seen(episode)))
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    assert "generator slot 7 turn 0" in page.data


# Text that means no good

HOSTILE = {
    "</script><script>alert(1)</script>": "</script>",
    "<img src=x onerror=alert(1)>": "<img src=x onerror=alert(1)>",
    "\u202egnorw": "⟨U+202E⟩",
    "a\x00b": "a\u2400b",
    "\ud800": "⟨U+D800⟩",
    "\U000e0041": "⟨U+E0041⟩",
    "{{ 7 * 7 }}{% raw %}": "{{ 7 * 7 }}{% raw %}",
    "]]><!-- -->": "<!-- -->",
    "&lt;b&gt;": "&lt;b&gt;",
}


def everywhere(text):
    """An episode with a text in every place that a model, a task or a user fills."""
    call = make_call(
        text, policy=text, text=text, reasoning=f"{text}.", claim=Answer(text), messages=(user(text),), score=1.0
    )
    judged = make_call(f"{text}!", claim=Unreadable(text), score=0.0, messages=({"role": text, "content": text},))
    episode = make_episode(call, judged, answer=text, task=text)
    return replace(episode, problem=text, key=text, traceback=text, error=text, error_kind="workflow")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("limit", [REPORT_LIMIT, 10**6])
def test_hostile_text_is_inert_and_can_be_seen(text, limit):
    written = html(seen(everywhere(text), {}, [text], limit=limit, where=text))
    harmless = Page(html(seen(everywhere("harmless text"), {}, ["harmless text"], limit=limit, where="harmless text")))
    page = Page(written)
    written.encode()
    assert set(page.tags) <= set(harmless.tags)
    assert not page.handlers
    assert "".join(page.data).count(HOSTILE[text]) >= 10


def test_names_of_roles_never_become_ids():
    page = Page(html(seen(everywhere('a" onclick="x'))))
    assert not page.handlers
    assert all(re.fullmatch(r"episode[a-z0-9-]*", one) for one in page.ids)


def test_text_that_scripts_need_stays_as_it_is():
    text = "答案是一。 Ответ: один. الجواب 👩‍👩‍👧‍👦 می‌خواهم\tx² ≤ ∞"
    assert visible(text) == text


def test_a_report_leaves_out_the_middle_of_a_long_text_and_says_how_much():
    found = shown("a" * 5_000 + "THE END", REPORT_LIMIT)
    text = found.chunks[0][0].text
    assert found.left_out == 5_007 - REPORT_LIMIT
    assert text.startswith("aaaa")
    assert text.endswith("THE END")
    assert f"{found.left_out:,} characters are left out here" in text
    page = html(seen(make_episode(make_call(text="b" * 50_000)), limit=REPORT_LIMIT))
    assert len(page) < 10_000


def test_a_long_line_is_whole_in_the_viewer_and_opens_piece_by_piece():
    found = shown("x" * 100_000)
    assert [sum(len(piece.text) for piece in chunk) for chunk in found.chunks] == [CHUNK] * 5
    page = html(seen(make_episode(make_call(text="x" * 100_000))))
    assert page.count('<details class="more">') == 4
    assert page.count("x" * CHUNK) == 5


def test_a_reply_of_a_million_characters_is_cut_in_the_viewer_too():
    found = shown("y" * 1_000_000)
    assert found.left_out == 600_000
    assert found.length == 1_000_000


def test_blocks_of_code_are_code_and_mathematics_is_text():
    found = shown("Look: $x^2$\n```python\ndef one():\n    return 1\n```\nDone.\n```\nopen")
    assert [(piece.code, piece.text.split("\n")[0]) for piece in found.chunks[0]] == [
        (False, "Look: $x^2$"),
        (True, "```python"),
        (False, "Done."),
        (True, "```"),
    ]
    page = html(seen(make_episode(make_call(text="```python\nprint('<b>')\n```"))))
    assert '<pre class="code"><code>```python\nprint(&#39;&lt;b&gt;&#39;)\n```</code></pre>' in page


def test_hundreds_of_calls_take_no_longer_than_their_number_and_their_links_are_folded():
    numbers = count()
    drafts = [
        make_call(slot=slot, text=f"draft number {next(numbers)}", claim=Answer("2"), score=1.0) for slot in range(300)
    ]
    prompt = (user("\n".join(call.text for call in drafts)),)
    choice = make_call("aggregator", messages=prompt, claim=Choice(tuple(one.key for one in drafts), 0), score=1.0)
    view = seen(make_episode(*drafts, choice))
    page = html(view)
    assert len(view.rows) == 2
    assert "All 301 calls" in page
    assert page.count('<details class="all-calls" open>') == 0


def test_anchors_of_two_episodes_on_a_page_differ():
    views = [seen(vote([("4", 1.0), ("5", 0.0)], 0), anchor=f"example-{place}") for place in range(2)]
    page = Page("".join(html(view) for view in views))
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses} <= set(page.ids)
