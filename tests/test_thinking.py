"""Models that reason before they reply: what they reason stays with them, and the ids they sampled stay as they are."""

import asyncio
from dataclasses import replace
from functools import cache

import pytest
from chat_server import chat_server
from facts import END, assistant, ids_of, make_chat, make_limits, make_task, user
from torch_build import CHOIR, session_folder, trained

from counterpoint.base_model import load_chat
from counterpoint.chat import Chat, Sampled, parted
from counterpoint.cli.show import Asked, show_episodes
from counterpoint.config import EndpointConfig
from counterpoint.episode import calls_of, read_episodes
from counterpoint.errors import ConfigError
from counterpoint.plan.plan import plan
from counterpoint.play import Stage, rollout
from counterpoint.policy import Routing, routing
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.runtimes import open_runtime
from counterpoint.samplers.base import Request
from counterpoint.samplers.endpoint import Endpoint
from counterpoint.samplers.scripted import Scripted
from counterpoint.tasks import load_tasks
from counterpoint.testing.tiny import tiny_config
from counterpoint.testing.tiny_qwen3 import tiny_qwen3_folder
from counterpoint.workflows import WORKFLOWS, load_workflow

MODES = ("off", "on", "shown")
QUESTION = [user("What is 2 + 3?")]
ASKED = "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n"
NO_THOUGHT = "<think>\n\n</think>\n\n"


@cache
def qwen3_folder():
    return tiny_qwen3_folder(session_folder() / "qwen3")


def qwen3_config(thinking, **table):
    return tiny_config(qwen3_folder(), {"model": {"path": str(qwen3_folder()), "thinking": thinking}, **table})


def qwen3_chat(thinking):
    return load_chat(qwen3_config(thinking).model)


def decoded(chat, ids):
    """Every token as text, control tokens too."""
    return chat.tokenizer.decode(list(ids), skip_special_tokens=False)


def encoded(chat, text):
    return tuple(chat.tokenizer.encode(text, add_special_tokens=False))


# What is reasoning, and what is text


@pytest.mark.parametrize(
    ("said", "off", "on"),
    [
        ("5", ("", "5"), ("5", "")),
        ("<think>\n2 and 3\n</think>\n\n5", ("<think>\n2 and 3\n", "5"), ("<think>\n2 and 3\n", "5")),
        ("2 and 3\n</think>\n\n5", ("2 and 3\n", "5"), ("2 and 3\n", "5")),
        ("a</think>b</think>\n c", ("a</think>b", " c"), ("a</think>b", " c")),
        ("a</think>", ("a", ""), ("a", "")),
        ("<think>2 and", ("", "<think>2 and"), ("<think>2 and", "")),
        ("", ("", ""), ("", "")),
    ],
)
def test_what_comes_after_the_last_end_of_reasoning_is_the_text(said, off, on):
    assert parted(said, "off", "</think>") == off
    assert parted(said, "on", "</think>") == on
    assert parted(said, "shown", "</think>") == ("", said)


def test_the_end_of_reasoning_can_be_another():
    assert parted("hm[/THINK]\n5</think>", "on", "[/THINK]") == ("hm", "5</think>")


def test_an_end_of_reasoning_that_is_a_special_token_is_not_lost():
    chat = replace(make_chat(), thinking="on", reasoning_end="<|im_start|>", control=frozenset({"<|im_start|>"}))
    said = chat.text((*ids_of("hm<|im_start|>5"), END))
    assert said == "hm<|im_start|>5"
    assert chat.parted(said) == ("hm", "5")


# What the template is told


@pytest.mark.parametrize(("thinking", "expected"), [("off", False), ("on", True), ("shown", True)])
def test_the_template_is_told_whether_to_think(thinking, expected):
    assert dict(qwen3_chat(thinking).template_options) == {"enable_thinking": expected}
    ending = "" if expected else NO_THOUGHT
    assert decoded(qwen3_chat(thinking), qwen3_chat(thinking).prompt(QUESTION)) == ASKED + ending


def test_other_options_of_the_template_stand_beside_it():
    config = config_from({"model": {"thinking": "on", "template": {"enable_thinking": True, "n": 3}}})
    assert config.model.template_options == {"enable_thinking": True, "n": 3}


@pytest.mark.parametrize(
    "table", [{"template": {"enable_thinking": True}}, {"thinking": "on", "template": {"enable_thinking": False}}]
)
def test_a_template_that_contradicts_it_is_refused(table):
    with pytest.raises(ConfigError, match=r"template\.enable_thinking = (True|False) contradicts thinking = 'o[nf]+'"):
        config_from({"model": table})
    config = config_from({"policy": {"judge": {"model": table}}})
    with pytest.raises(ConfigError, match=r"policy\.judge\.model.* contradicts thinking"):
        config.policy_settings("judge")


def test_what_is_no_way_of_thinking_is_refused():
    with pytest.raises(ConfigError, match=r"model\.thinking = 'loud': input should be 'off', 'on' or 'shown'"):
        config_from({"model": {"thinking": "loud"}})


# Qwen3's template


def test_the_tiny_qwen3_has_the_tokens_of_the_real_one():
    tokenizer = qwen3_chat("off").tokenizer
    special = {str(token): token.special for token in tokenizer.added_tokens_decoder.values()}
    assert special == {
        **dict.fromkeys(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], True),
        **dict.fromkeys(["<think>", "</think>", "<tool_call>", "</tool_call>"], False),
        **dict.fromkeys(["<tool_response>", "</tool_response>"], False),
    }
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert qwen3_chat("off").stop_ids == set(ends)
    assert qwen3_chat("off").text((*encoded(qwen3_chat("off"), "<think>a</think>b"), ends[0])) == "<think>a</think>b"


def render(messages, **options):
    return qwen3_chat("on").tokenizer.apply_chat_template(messages, tokenize=False, **options)


def test_its_template_leaves_out_the_thoughts_before_the_last_question():
    thought = assistant("<think>\nhm\n</think>\n\n5")
    assert render([*QUESTION, thought]) == "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n" + (
        "<|im_start|>assistant\n<think>\nhm\n</think>\n\n5<|im_end|>\n"
    )
    assert render([*QUESTION, thought, user("Sure?")]) == (
        "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n5<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n"
    )


def test_its_template_gives_the_last_reply_an_empty_thought():
    assert render([*QUESTION, assistant("5")]).endswith(f"<|im_start|>assistant\n{NO_THOUGHT}5<|im_end|>\n")


def test_its_template_writes_tools_as_the_real_one():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
    messages = [
        {"role": "system", "content": "Be short."},
        *QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "5"},
        {"role": "tool", "content": "6"},
    ]
    assert render(messages, tools=[{"name": "add"}], add_generation_prompt=True) == (
        "<|im_start|>system\nBe short.\n\n# Tools\n\nYou may call one or more functions to assist with the user"
        " query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        '{"name": "add"}\n</tools>\n\nFor each function call, return a json object with function name and arguments'
        ' within <tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments":'
        " <args-json-object>}\n</tool_call><|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n5\n</tool_response>\n<tool_response>\n6\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


# Ids that were sampled


def test_without_thinking_a_later_prompt_of_qwen3_is_a_sample_of_its_own():
    """Its template writes an empty thought before a reply, and leaves it out once the reply is history."""
    chat = qwen3_chat("off")
    said = Sampled((*QUESTION, assistant("5")), (*encoded(chat, "5"), min(chat.stop_ids)))
    later = chat.prompt([*said.messages, user("Sure?")], [said])
    assert later == chat.prompt([*said.messages, user("Sure?")])
    assert later[: len(chat.prompt(QUESTION))] != chat.prompt(QUESTION)
    assert NO_THOUGHT not in decoded(chat, later)[: -len(NO_THOUGHT)]


def test_with_thinking_a_reply_that_did_not_think_is_extended():
    chat = qwen3_chat("on")
    (stop,) = encoded(chat, "<|im_end|>")
    said = Sampled((*QUESTION, assistant("5")), (*encoded(chat, "5"), stop))
    later = chat.prompt([*said.messages, user("Sure?")], [said])
    assert later[: len(chat.prompt(QUESTION)) + 2] == (*chat.prompt(QUESTION), *said.ids)


def test_ids_that_say_more_than_the_message_do_not_come_back():
    chat = replace(make_chat(), thinking="on")
    said = Sampled((*QUESTION, assistant("5")), (*ids_of("secret</think>5"), END))
    plain = Sampled((*QUESTION, assistant("5")), (*ids_of("5"), END))
    later = [*said.messages, user("Sure?")]
    assert chat.prompt(later, [said]) == chat.prompt(later) == chat.prompt(later, [plain])
    assert "secret" not in chat.text(chat.prompt(later, [said]))


def play(workflow, script, thinking):
    chat: Chat = replace(make_chat(), thinking=thinking)
    sampler = Scripted(script, chat)
    stage = Stage(
        workflow=workflow,
        routing=Routing(dict.fromkeys(workflow.roles, "all")),
        sampler=sampler,
        chats={"all": chat},
    )
    (group,) = asyncio.run(rollout(stage, [make_task()], make_limits(), size=1, seed="s"))
    assert group.episodes[0].error is None
    return group.episodes[0].calls, [chat.text(request.prompt_ids) for request in sampler.requests]


@pytest.mark.parametrize("transcripts", ["private", "joint"])
@pytest.mark.parametrize(("thinking", "seen"), [("off", False), ("on", False), ("shown", True)])
def test_no_role_sees_what_another_reasons(transcripts, thinking, seen):
    refining = WORKFLOWS.find("evaluator_optimizer").with_options({"transcripts": transcripts})
    calls, prompts = play(refining, lambda policy, prompt: "secret\n</think>\n\n2", thinking)
    assert len(prompts) == 6
    assert any("secret" in prompt for prompt in prompts) == seen
    assert {(call.reasoning, call.text) for call in calls} == {
        ("", "secret\n</think>\n\n2") if seen else ("secret\n", "2")
    }
    assert all(call.completion_ids == (*ids_of("secret\n</think>\n\n2"), END) for call in calls)


def test_a_reply_that_never_ends_its_reasoning_says_nothing():
    calls, prompts = play(WORKFLOWS.find("voting"), lambda policy, prompt: "<think>2, or", "on")
    assert {(call.reasoning, call.text, call.score) for call in calls} == {("<think>2, or", "", 0.0)}
    assert not any("2, or" in prompt for prompt in prompts)


def test_claims_are_read_from_the_text():
    calls, _ = play(WORKFLOWS.find("single"), lambda policy, prompt: "3, no\n</think>\n2", "on")
    assert (calls[0].claim.text, calls[0].score) == ("2", 1.0)


def ask(url, **settings):
    async def asked():
        endpoint = Endpoint("judge", EndpointConfig(url=url, model="oracle", retries=0, **settings))
        request = Request(
            policy="judge", prompt_ids=(), messages=tuple(QUESTION), max_tokens=9, temperature=1.0, seed=0
        )
        try:
            return await endpoint.sample(request)
        finally:
            await endpoint.close()

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("behaviour", "settings", "expected"),
    [
        ({"reply": "hm</think>\n\n5"}, {}, ("hm", "5")),
        ({"reply": "hm"}, {"thinking": "on"}, ("hm", "")),
        ({"reply": "hm</think>5"}, {"thinking": "shown"}, ("", "hm</think>5")),
        ({"reply": "5", "beside": {"reasoning_content": "hm"}}, {"thinking": "on"}, ("hm", "5")),
        ({"reply": None, "beside": {"reasoning": "hm"}, "finish": "length"}, {}, ("hm", "")),
    ],
)
def test_what_an_endpoint_says_is_parted_too(tmp_path, behaviour, settings, expected):
    with chat_server(tmp_path, **behaviour) as server:
        completion = ask(server.url, **settings)
    assert (completion.reasoning, completion.text) == expected


# Whole workflows, on a model that behaves as Qwen3 does


@cache
def played(name, thinking, **options):
    """Calls of some episodes, each with those that came before it; the chat."""
    config = qwen3_config(thinking, workflow={"name": name, **options}, rollout={"max_tokens": 16})
    workflow = load_workflow(config.workflow)
    routes = routing("isolated", workflow.slots)

    async def rolled():
        async with open_runtime(config, routes) as runtime:
            await runtime.sampler.load(runtime.learner.adapters())
            stage = Stage(workflow=workflow, routing=routes, sampler=runtime.sampler, chats=runtime.chats)
            tasks = load_tasks(config.task).train[:2]
            return await rollout(stage, tasks, make_limits(max_tokens=16), size=4, seed="s")

    return [episode for group in asyncio.run(rolled()) for episode in group.episodes], qwen3_chat(thinking)


WHOLE = [
    ("voting", {}),
    ("evaluator_optimizer", {"transcripts": "private"}),
    ("evaluator_optimizer", {"transcripts": "joint"}),
    ("orchestrator_workers", {}),
]


@pytest.mark.parametrize("thinking", MODES)
@pytest.mark.parametrize(("name", "options"), WHOLE)
def test_every_prompt_is_what_the_template_writes_of_its_messages(name, options, thinking):
    episodes, chat = played(name, thinking, **options)
    assert not any(episode.error for episode in episodes)
    for episode in episodes:
        for call in episode.calls:
            written = chat.tokenizer.apply_chat_template(
                list(call.messages), tokenize=False, add_generation_prompt=True, enable_thinking=thinking != "off"
            )
            # A reply cut in the middle of a character stands in a prompt as the bytes that were sampled.
            assert decoded(chat, call.prompt_ids).replace("\N{REPLACEMENT CHARACTER}", "") == written.replace(
                "\N{REPLACEMENT CHARACTER}", ""
            )


@pytest.mark.parametrize("thinking", MODES)
@pytest.mark.parametrize(("name", "options"), WHOLE)
def test_no_prompt_holds_the_reasoning_of_a_reply_unless_it_is_shown(name, options, thinking):
    episodes, chat = played(name, thinking, **options)
    calls = [call for episode in episodes for call in episode.calls]
    (end,) = encoded(chat, "</think>")
    reasoned = [call for call in calls if end in call.completion_ids]
    assert reasoned, "the model is one that reasons"
    own = 1 if thinking == "off" else 0
    if thinking != "shown":
        assert {call.prompt_ids.count(end) for call in calls} == {own}
        assert all(call.reasoning + "</think>" in chat.text(call.completion_ids) for call in reasoned)
        assert all("</think>" not in message["content"] for call in calls for message in call.messages)
    else:
        assert {call.reasoning for call in calls} == {""}
        assert all("</think>" in call.text for call in reasoned)
    if thinking == "on":
        silent = [call for call in calls if end not in call.completion_ids]
        assert {call.text for call in silent} == {""}
        assert all(call.reasoning == chat.text(call.completion_ids) for call in silent)


@pytest.mark.parametrize("thinking", MODES)
def test_it_trains_and_every_step_is_proven(tmp_path, thinking):
    """Voices whose luck is the length of their text; what they reason is trained with it."""
    run = Run.create(tmp_path / "run", qwen3_config(thinking, **CHOIR), {})
    trained(run)
    rows = run.metric_rows()
    assert len(rows) == 3
    assert all(row["policy/soprano/mismatch"] < 1e-4 for row in rows)
    assert any(row["policy/soprano/trained"] for row in rows)
    calls = [call for _, call in calls_of(read_episodes(run.path / "episodes" / "000001.parquet"))]
    assert any(call.reasoning for call in calls) == (thinking != "shown")
    assert {len(call.logprobs) - len(call.completion_ids) for call in calls} == {0}


def test_show_prints_what_was_reasoned_apart_from_what_was_said(tmp_path, capsys):
    run = trained(Run.create(tmp_path / "run", qwen3_config("on", **CHOIR, run={"steps": 1}), {}))
    calls = [call for _, call in calls_of(read_episodes(run.path / "episodes" / "000001.parquet"))]
    show_episodes(run.path, Asked(step="1", limit=100))
    printed = capsys.readouterr().out
    assert printed.count("| reasoning, which no other role sees:") == sum(bool(call.reasoning) for call in calls) > 0


@pytest.mark.parametrize(("thinking", "ending"), [("off", NO_THOUGHT), ("on", "")])
def test_a_prompt_that_is_cut_still_begins_and_ends_as_qwen3s_does(tmp_path, capsys, thinking, ending):
    rules = {"max_tokens": 8, "max_prompt_tokens": 64, "long_prompts": "cut"}
    table = {"workflow": "evaluator_optimizer", "rollout": rules, "run": {"steps": 1}}
    run = trained(Run.create(tmp_path / "run", qwen3_config(thinking, **table), {}))
    chat = qwen3_chat(thinking)
    calls = [call for _, call in calls_of(read_episodes(run.path / "episodes" / "000001.parquet"))]
    assert {len(call.prompt_ids) for call in calls} == {64}
    for call in calls:
        prompt = decoded(chat, call.prompt_ids)
        assert prompt.startswith("<|im_start|>user\n")
        assert prompt.endswith(f"<|im_end|>\n<|im_start|>assistant\n{ending}")
    assert run.metric_rows()[0]["role/evaluator/cut_prompts"] == 1.0
    show_episodes(run.path, Asked(step="1", limit=1))
    assert f"64 ({calls[0].cut} left out of the middle) + " in capsys.readouterr().out


def test_a_plan_of_a_model_that_thinks_counts_every_call():
    """What is scripted for the rehearsal has no reasoning in it."""
    for thinking in MODES:
        made = plan(qwen3_config(thinking, workflow={"name": "orchestrator_workers"}, rollout={"max_tokens": 200}))
        assert made.calls_per_step == 3 * 4 * 5
