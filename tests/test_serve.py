"""A trained workflow behind HTTP: asked by OpenAI's clients, by the project's own, and by whoever speaks to a port."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import httpx2
import openai
import pytest
from facts import make_call, make_episode, make_limits, make_stage, make_task

from counterpoint.cli.serve import _like, serve_run, to_be_served
from counterpoint.config import EndpointConfig
from counterpoint.episode import Answer, CallKey, Choice
from counterpoint.errors import ConfigError, RunError
from counterpoint.run import Run
from counterpoint.samplers.base import Request
from counterpoint.samplers.endpoint import Endpoint
from counterpoint.serve.answering import completion
from counterpoint.serve.asking import Ask, RefusedError, read_ask
from counterpoint.serve.engine_thread import EngineThread
from counterpoint.serve.service import Service
from counterpoint.serve.web import LARGEST, Web, server_of
from counterpoint.task import Problem
from counterpoint.tasks.base import Splits
from counterpoint.workflows.base import Role, workflow

SUM = "What is 7 + 12 - 3?"
USER = [{"role": "user", "content": SUM}]
Script = Callable[[str, str], str]


@workflow
async def composing(problem: Problem, *, writer: Role) -> str | None:
    """Puts together an answer that no reply gave."""
    reply = await writer(problem.text)
    return f"so: {reply.text}" if reply.text else None


@workflow
async def writing(problem: Problem, *, writer: Role) -> str | None:
    """One role, which answers; it waits as long as the problem says, and blocks its thread if the problem says so."""
    if problem.text.startswith("wait"):
        await asyncio.sleep(float(problem.text.split()[1]))
    if problem.text.startswith("block"):
        sleep(float(problem.text.split()[1]))
    reply = await writer(problem.text)
    return reply.answers(problem.extract(reply.text))


# In this process: a scripted stage behind the real server, on a real port.


@contextmanager
def serving(flow=writing, script: Script = lambda policy, prompt: "2", **options):
    """The address of a server in this process, and its `Web`."""
    stage, _ = make_stage(flow, script)
    service = Service(name="mine", stage=stage, limits=make_limits(timeout=30.0), like=make_task().problem)
    with serving_service(service, **options) as found:
        yield found


@contextmanager
def serving_service(service, **options):
    @asynccontextmanager
    async def opened():
        yield service

    engine, ready = EngineThread(opened()), threading.Event()
    engine.open()
    web = Web(service.name, lambda ask: engine.submit(service.play(ask)), **options)
    server = server_of(web, ready.set)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield address, web
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
            assert engine.close(10)


def post(address, body=None, **fields):
    asked = {"model": "mine", "messages": USER, **fields} if body is None else body
    return httpx2.post(f"{address}/v1/chat/completions", json=asked, timeout=30)


def error(response):
    return response.status_code, response.json()["error"]["message"]


@pytest.fixture(scope="module")
def address():
    with serving() as (found, _):
        yield found


def test_the_models_and_the_health_can_be_asked_for(address):
    models = httpx2.get(f"{address}/v1/models").json()
    assert models["object"] == "list"
    (one,) = models["data"]
    assert (one["id"], one["object"]) == ("mine", "model")
    assert httpx2.get(f"{address}/v1/models/mine").json() == one
    assert httpx2.get(f"{address}/health").json() == {"status": "ok", "model": "mine", "playing": 0}


def test_a_wrong_path_is_404_and_a_wrong_method_405_with_what_is_allowed(address):
    assert error(httpx2.get(f"{address}/v1/nothing")) == (
        404,
        "there is no /v1/nothing; allowed: /v1/chat/completions, /v1/models, /health",
    )
    wrong = httpx2.get(f"{address}/v1/chat/completions")
    assert (wrong.headers["allow"], *error(wrong)) == (
        "POST",
        405,
        "/v1/chat/completions does not allow GET; allowed: POST",
    )
    assert error(httpx2.get(f"{address}/v1/models/gpt")) == (404, "unknown model 'gpt'; allowed: mine")


def test_what_clients_send_without_meaning_anything_is_accepted(address):
    neutral = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False, "tools": []}
    neutral |= {"response_format": {"type": "text"}, "stop": None, "user": "me", "metadata": {"a": "b"}, "store": True}
    neutral |= {"stream": False, "n": 1, "max_tokens": 512, "tool_choice": None, "seed": -1, "logit_bias": {}}
    assert post(address, **neutral).json()["choices"][0]["message"]["content"] == "2"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_p": 0.5}, "top_p = 0.5 is not supported; allowed: 1"),
        ({"logprobs": True}, "logprobs = true is not supported; allowed: false"),
        ({"tools": [{"type": "function"}]}, 'tools = [{"type": "function"}] is not supported; allowed: []'),
        (
            {"response_format": {"type": "json_object"}},
            'response_format = {"type": "json_object"} is not supported; allowed: {"type": "text"}',
        ),
        ({"temprature": 1}, "unknown key 'temprature'; did you mean 'temperature'?"),
        ({"temperature": 9.0}, "temperature = 9.0: input should be less than or equal to 2"),
        ({"n": 0}, "n = 0: input should be greater than or equal to 1"),
        ({"max_tokens": 0}, "max_tokens = 0: input should be greater than or equal to 1"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_name_and_value(fields, message):
    with pytest.raises(RefusedError) as caught:
        read_ask(json.dumps({"model": "mine", "messages": USER, **fields}).encode(), "mine")
    assert message in str(caught.value)
    assert caught.value.status == 400
    assert caught.value.param == next(iter(fields))


def asked(**fields):
    return read_ask(json.dumps({"model": "mine", "messages": USER, **fields}).encode(), "mine")


def test_the_content_may_be_a_list_of_text_parts():
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "1 + 1?"}]
    assert asked(messages=[{"role": "user", "content": parts}]).text == "What is\n1 + 1?"
    with pytest.raises(RefusedError, match="a part of type 'image_url'; allowed: text"):
        asked(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


def test_messages_of_any_role_may_come_before_the_problem():
    tool = {"role": "assistant", "content": None, "tool_calls": []}
    assert asked(messages=[{"role": "developer", "content": "Be brief.", "name": "x"}, tool, *USER]).text == SUM
    for last in ({"role": "assistant", "content": "hm"}, {"role": "user", "content": " "}):
        with pytest.raises(RefusedError, match="the last message must have the role 'user' and contain the problem"):
            asked(messages=[*USER, last])


@pytest.mark.parametrize(
    "before",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant", "content": "", "refusal": None, "audio": None},
        {"role": "tool", "tool_call_id": "1", "content": "7"},
        {"role": "function", "name": "add", "content": 7},
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": ["one", 2]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "critic", "name": "x", "content": {"any": "thing"}},
    ],
)
def test_messages_that_are_not_read_may_be_anything(before):
    assert asked(messages=[before, *USER]).text == SUM


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must have the role 'user' and contain the problem"),
        ("", "must have the role 'user' and contain the problem"),
        ([], "must have the role 'user' and contain the problem"),
        ([{"type": "text", "text": " "}], "must have the role 'user' and contain the problem"),
        (7, "the last message has the content 7; allowed: text, or a list of parts"),
        ({"type": "text", "text": "x"}, 'has the content {"type": "text", "text": "x"}; allowed: text, or a list'),
        (["What?"], 'the last message has a part "What?"; allowed: text'),
        ([{"type": "text"}], 'the last message has a part {"type": "text"}; allowed: text'),
        ([{"type": "text", "text": None}], "the last message has a part {"),
        (
            [{"type": "input_audio", "input_audio": {}}],
            "the last message has a part of type 'input_audio'; allowed: text",
        ),
        ([{"text": "What?"}], 'the last message has a part {"text": "What?"}; allowed: text'),
        ("What is \ud800?", "the last message cannot be written as UTF-8"),
    ],
)
def test_a_problem_that_cannot_be_read_is_refused(content, message):
    with pytest.raises(RefusedError) as caught:
        asked(messages=[*USER, {"role": "user", "content": content}])
    assert message in str(caught.value)
    assert (caught.value.status, caught.value.param) == (400, "messages")


NEUTRAL = [
    {"n": 1, "stream": False, "top_p": 1, "temperature": 1},
    {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "length_penalty": 1},
    {"presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "logprobs": False, "top_logprobs": 0},
    {"stop": None, "stop_token_ids": [], "ignore_eos": False, "min_tokens": 0},
    {"max_completion_tokens": 100, "max_tokens": None},
    {"user": "me", "safety_identifier": "x", "prompt_cache_key": "x", "metadata": {"a": "b"}, "store": False},
    {"seed": 7, "service_tier": "auto", "parallel_tool_calls": False},
    {"stream_options": {"include_usage": True}},
    {"stream_options": None, "modalities": ["text"], "audio": None, "prediction": None},
    {"tools": [], "tool_choice": "auto", "functions": None, "function_call": "none"},
    {"response_format": {"type": "text"}, "reasoning_effort": "none", "verbosity": "medium"},
    {"best_of": 1, "echo": False, "use_beam_search": False, "skip_special_tokens": True, "chat_template_kwargs": {}},
]


@pytest.mark.parametrize("fields", NEUTRAL)
def test_a_value_that_asks_for_nothing_is_accepted(address, fields):
    made = post(address, **fields)
    assert made.status_code == 200
    assert made.json()["choices"][0]["message"] == {"role": "assistant", "content": "2"}


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 129},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "required"},
        {"functions": [{"name": "add"}]},
        {"logit_bias": {"5": 1}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"presence_penalty": 0.5},
        {"frequency_penalty": -1},
        {"top_logprobs": 3},
        {"top_k": 20},
        {"min_p": 0.05},
        {"repetition_penalty": 1.1},
        {"best_of": 4},
        {"stop_token_ids": [5]},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "high"},
        {"modalities": ["text", "audio"]},
        {"web_search_options": {}},
        {"guided_json": {}},
    ],
)
def test_what_would_be_accepted_and_not_obeyed_is_refused(address, fields):
    made = post(address, **fields)
    told = made.json()["error"]
    assert (made.status_code, told["type"], told["param"]) == (400, "invalid_request_error", next(iter(fields)))
    assert next(iter(fields)) in told["message"]
    assert "\n" not in told["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_whatever_goes_wrong_is_an_error_in_openais_shape(stream):
    class Broken:
        name = "mine"

        async def play(self, ask):
            raise ZeroDivisionError("by nought")

    with serving_service(Broken()) as (url, _):
        made = post(url, stream=stream)
    body = json.loads(made.text.strip().splitlines()[-1].removeprefix("data: "))
    assert body["error"] == {
        "message": "ZeroDivisionError: by nought",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert made.status_code == (200 if stream else 500)


def test_the_smaller_of_two_limits_counts():
    assert asked(max_tokens=7, max_completion_tokens=5).max_tokens == 5


def test_max_tokens_is_an_upper_bound_of_each_reply(address):
    with serving(script=lambda policy, prompt: "x" * 90) as (url, _):
        short = post(url, max_tokens=10).json()["choices"][0]
        whole = post(url, max_completion_tokens=100_000).json()["choices"][0]
    assert (short["finish_reason"], whole["finish_reason"]) == ("length", "stop")
    assert len(short["message"]["content"]) < len(whole["message"]["content"]) == 90


def test_stop_ends_the_content():
    episode = make_episode(make_call(text="One. Two. Three.", claim=Answer("3")), answer="3")
    (choice,) = completion("mine", Ask(text="?", stop=("Three", " Two")), [episode])["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("One.", "stop")


def test_n_plays_that_many_episodes():
    with serving() as (url, _):
        made = post(url, n=3).json()
    assert [choice["index"] for choice in made["choices"]] == [0, 1, 2]
    assert all(len(choice["counterpoint"]["replies"]) == 1 for choice in made["choices"])
    assert made["usage"]["completion_tokens"] == 3 * made["choices"][0]["counterpoint"]["replies"][0]["tokens"]


def test_openais_client_reads_a_stream(address):
    async def read():
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            options = {"include_usage": True}
            made = await client.chat.completions.create(
                model="mine", messages=USER, stream=True, stream_options=options
            )
            return [chunk async for chunk in made]

    chunks = asyncio.run(read())
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "2"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, None, "stop"]
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].choices[0].model_extra["counterpoint"]["answer"] == "2"


def test_a_stream_ends_with_done_and_has_no_usage_unless_asked(address):
    lines = [line for line in post(address, stream=True).text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all("usage" not in json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_an_error_in_a_stream_is_an_event_that_openais_client_raises():
    with (
        serving(script=lambda policy, prompt: 1 / 0) as (url, _),
        openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.APIError, match="the sampler failed: ZeroDivisionError"),
    ):
        list(client.chat.completions.create(model="mine", messages=USER, stream=True))


def test_the_projects_own_endpoint_client_can_talk_to_it():
    async def sample(url):
        endpoint = Endpoint("writer", EndpointConfig(url=f"{url}/v1", model="mine", retries=0))
        request = Request(
            policy="writer", prompt_ids=(), messages=tuple(USER), max_tokens=50, temperature=1.0, seed=2**40
        )
        try:
            return await endpoint.sample(request)
        finally:
            await endpoint.close()

    with serving() as (url, _):
        made = asyncio.run(sample(url))
    assert (made.text, made.finish) == ("2", "stop")
    with serving(script=lambda policy, prompt: "") as (url, _):
        assert asyncio.run(sample(url)).text == ""  # no answer is a reply without text, not an error


def test_forty_requests_at_once_are_all_answered(address):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            made = [client.chat.completions.create(model="mine", messages=USER) for _ in range(40)]
            return await asyncio.gather(*made)

    assert [made.choices[0].message.content for made in asyncio.run(ask())] == ["2"] * 40


def together(address, *texts):
    """The responses to several problems that are asked at once, and the seconds that each took."""

    async def ask(client, text):
        before = monotonic()
        messages = [{"role": "user", "content": text}]
        made = await client.post(f"{address}/v1/chat/completions", json={"model": "mine", "messages": messages})
        return made, monotonic() - before

    async def everyone():
        async with httpx2.AsyncClient(timeout=30) as client:
            return await asyncio.gather(*(ask(client, text) for text in texts))

    return asyncio.run(everyone())


def test_requests_are_played_at_the_same_time(address):
    before = monotonic()
    found = together(address, *["wait 0.4"] * 8)
    assert {made.status_code for made, _ in found} == {200}
    assert monotonic() - before < 2.5


def test_a_workflow_that_blocks_its_thread_does_not_keep_the_server_from_answering(address):
    blocked = threading.Thread(target=together, args=(address, "block 1.5"))
    blocked.start()
    sleep(0.3)
    before = monotonic()
    assert httpx2.get(f"{address}/health").json()["playing"] == 1
    assert monotonic() - before < 1
    blocked.join()


def test_connections_that_say_nothing_or_half_of_it_harm_nobody(address):
    host, port = address.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=5) for _ in range(30)]
    for one in idle[::2]:
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{")
    before = monotonic()
    assert post(address).status_code == 200
    assert monotonic() - before < 2
    for one in idle:
        one.close()


def until(condition):
    end = monotonic() + 10
    while not condition():
        assert monotonic() < end
        sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
def test_the_episode_of_a_client_that_goes_away_is_cancelled(stream, capfd):
    with serving() as (url, web):
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps({"model": "mine", "stream": stream, "messages": [{"role": "user", "content": "wait 60"}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((host, int(port))) as line:
            line.sendall((head + body).encode())
            until(lambda: web.playing == 1)
        until(lambda: web.playing == 0)
    assert capfd.readouterr() == ("", "")


def test_what_is_too_much_is_refused_and_may_be_tried_again():
    with serving(most=2) as (url, web):
        waiting = threading.Thread(target=together, args=(url, "wait 1.5", "wait 1.5"))
        waiting.start()
        until(lambda: web.playing == 2)
        full = post(url)
        waiting.join()
        assert (full.headers["retry-after"], full.status_code) == ("1", 503)
        assert "2 episodes are being played and 1 more are asked for; at most 2 can" in error(full)[1]
        assert post(url).status_code == 200


def test_the_end_of_the_server_is_told_to_who_waits(capfd):
    found = []
    with serving() as (url, web):
        waiting = threading.Thread(target=lambda: found.extend(together(url, "wait 60")))
        waiting.start()
        until(lambda: web.playing == 1)
    waiting.join()
    ((made, seconds),) = found
    assert error(made) == (503, "the server ends")
    assert seconds < 5
    assert capfd.readouterr() == ("", "")


def test_a_key_is_asked_for_only_if_there_is_one(address):
    with serving(key="sesame") as (url, _):
        assert error(httpx2.get(f"{url}/v1/models")) == (401, "the API key is missing or wrong")
        assert httpx2.get(f"{url}/v1/models", headers={"Authorization": "Bearer sesame"}).status_code == 200
        assert httpx2.get(f"{url}/health").status_code == 200
    assert httpx2.get(f"{address}/v1/models", headers={"Authorization": "Bearer anything"}).status_code == 200


def test_a_page_of_another_name_that_points_here_is_refused(address):
    evil = {"Host": "evil.example:8000"}
    assert error(httpx2.get(f"{address}/v1/models", headers=evil))[0] == 403
    assert httpx2.get(f"{address}/v1/models", headers={"Host": "localhost:8000"}).status_code == 200
    with serving(any_host=True) as (url, _):
        assert httpx2.get(f"{url}/v1/models", headers=evil).status_code == 200


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
def test_a_page_of_another_site_starts_nothing(address, site, status):
    asked = json.dumps({"model": "mine", "messages": USER})
    sent = {"Sec-Fetch-Site": site, "Content-Type": "text/plain"}  # which a page may send without asking before
    assert httpx2.post(f"{address}/v1/chat/completions", content=asked, headers=sent).status_code == status


@pytest.mark.parametrize("key", ["", " sesame", "clé", "a\nb"])
def test_a_key_that_keeps_nobody_out_or_that_nobody_can_send_is_refused(key):
    with pytest.raises(ConfigError, match="--api-key: printable ASCII"):
        serve_run(Path("nothing"), [], None, "127.0.0.1", 0, key)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{x}", 400, "the request is not JSON"),
        (b"[]", 400, "the request must be a JSON object, not list"),
        (b" " * (LARGEST + 1), 413, f"the request has {LARGEST + 1} bytes; allowed: {LARGEST}"),
    ],
)
def test_any_content_gets_an_error_in_json(address, content, status, message):
    found, told = error(httpx2.post(f"{address}/v1/chat/completions", content=content))
    assert found == status
    assert message in told


def test_the_size_of_a_request_that_does_not_say_it_is_limited_too(address):
    pieces = (b" " * 2**16 for _ in range(20))
    assert error(httpx2.post(f"{address}/v1/chat/completions", content=pieces))[0] == 413


def test_an_answer_that_no_reply_gave_is_told_by_itself_and_none_is_empty():
    with serving(composing) as (url, _):
        (choice,) = post(url).json()["choices"]
        assert choice["message"]["content"] == "so: 2"
        assert not any(reply["won"] for reply in choice["counterpoint"]["replies"])
    with serving(composing, lambda policy, prompt: "") as (url, _):
        (choice,) = post(url).json()["choices"]
        assert (choice["message"]["content"], choice["counterpoint"]["answer"]) == ("", None)


def won(*calls):
    (choice,) = completion("mine", Ask(text="?"), [make_episode(*calls, answer="2")])["choices"]
    return [(reply["role"], reply["slot"]) for reply in choice["counterpoint"]["replies"] if reply["won"]]


def test_of_equal_answers_the_chosen_one_wins_else_the_last():
    drafts = [make_call(slot=slot, claim=Answer(text)) for slot, text in enumerate(["2", "2", "3", "2"])]
    keys = tuple(CallKey("generator", slot, 0) for slot in range(4))
    assert won(*drafts) == [("generator", 3)]
    assert won(*drafts, make_call("judge", claim=Choice(keys, 1))) == [("generator", 1)]
    assert won(*drafts, make_call("judge", claim=Answer("2"))) == [("judge", 0)]


@pytest.mark.parametrize(
    ("ends", "answer", "finish"),
    [
        (("length", "length"), None, "length"),
        (("stop", "length"), None, "length"),
        (("stop", "stop"), None, "stop"),
        ((), None, "stop"),
        (("length",), "2", "stop"),
    ],
)
def test_where_no_reply_gave_the_answer_the_end_says_whether_one_was_cut_off(ends, answer, finish):
    calls = [make_call(slot=slot, finish=end, claim=None) for slot, end in enumerate(ends)]
    (choice,) = completion("mine", Ask(text="?"), [make_episode(*calls, answer=answer)])["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == (finish, answer or "")


def test_problems_that_want_different_answers_cannot_be_served():
    tasks = {name: make_task(name, id=name) for name in ("train", "validation", "test")}
    assert _like(Splits(**{name: (task,) for name, task in tasks.items()})) in [one.problem for one in tasks.values()]
    other = replace(tasks["test"], problem=replace(tasks["test"].problem, answer_format="Write a program."))
    with pytest.raises(ConfigError, match=r"answers in 2 forms: 'Just write it.', 'Write a program.'"):
        _like(Splits(**{name: (task,) for name, task in (tasks | {"test": other}).items()}))


# The command, as a process of its own.


@contextmanager
def served(run, *arguments):
    """The URL of `counterpoint serve`, and its process."""
    command = [sys.executable, "-m", "counterpoint", "serve", str(run), *arguments, "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        assert ": model " in line, process.stderr.read()
        yield line.partition(": model ")[0], process
    finally:
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def url(tiny_run):
    with served(tiny_run.path) as (found, _):
        yield found


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as found:
        yield found


def ask(client, text=SUM, before=(), **fields):
    messages = [*before, {"role": "user", "content": text}]
    return client.chat.completions.create(model="voting", messages=messages, **fields)


def told(made):
    return made.choices[0].model_extra["counterpoint"]


def test_the_answer_is_the_reply_that_won_and_all_replies_are_told(client):
    made = ask(client, seed=3, temperature=0)
    replies = told(made)["replies"]
    assert [(reply["role"], reply["slot"], reply["policy"]) for reply in replies] == [
        *(("generator", slot, "shared") for slot in range(3)),
        ("aggregator", 0, "shared"),
    ]
    (won,) = [reply for reply in replies if reply["won"]]
    assert made.choices[0].message.content == won["text"]
    assert rf"\boxed{{{told(made)['answer']}}}" in won["text"]
    assert made.choices[0].finish_reason == "stop"
    assert made.usage.completion_tokens == sum(reply["tokens"] for reply in replies)
    assert made.usage.prompt_tokens > 0


def test_a_seed_gives_the_same_replies_and_another_seed_others(client):
    def replies(seed, **fields):
        return told(ask(client, seed=seed, temperature=2, **fields))["replies"]

    assert replies(1) == replies(1)
    assert replies(1) == replies(1, before=[{"role": "system", "content": "Be brief."}])
    assert replies(1) != replies(2)


def test_forty_at_once_get_what_each_would_get_alone(url, client):
    texts = [f"What is {number} + 2 - 1?" for number in range(40)]

    async def at_once():
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as many:
            made = (
                many.chat.completions.create(
                    model="voting", messages=[{"role": "user", "content": text}], temperature=0
                )
                for text in texts
            )
            return [told(one)["answer"] for one in await asyncio.gather(*made)]

    found = asyncio.run(at_once())
    assert found[:4] == [told(ask(client, text, temperature=0))["answer"] for text in texts[:4]]
    assert len(found) == 40


def test_a_prompt_that_is_too_long_is_refused_in_openais_way(client):
    with pytest.raises(openai.UnprocessableEntityError, match=r"longer than rollout\.max_prompt_tokens = 2048"):
        ask(client, "1 + " * 3000)
    with pytest.raises(openai.NotFoundError, match="unknown model 'gpt'; allowed: voting"):
        client.chat.completions.create(model="gpt", messages=USER)


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_it_listens_on_this_machine_alone_and_ends_when_interrupted(tiny_run, ends):
    with served(tiny_run.path, "--step", "0") as (url, process):
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(ends)
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""


def test_a_port_in_use_is_one_line_before_anything_is_loaded(tiny_run, monkeypatch):
    monkeypatch.setattr("counterpoint.api.open_stage", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"cannot listen on 127.0.0.1, port {port}: Address already in use; choose"
        ):
            serve_run(tiny_run.path, [], None, "127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"cannot listen on 192.0.2.1, port 0: Cannot assign requested address"):
        serve_run(tiny_run.path, [], None, "192.0.2.1", 0)


def test_a_port_in_use_is_told_without_an_engine(tiny_run):
    code = f"""
import socket, sys
from pathlib import Path
from counterpoint.cli.serve import serve_run
from counterpoint.errors import ConfigError
with socket.create_server(("127.0.0.1", 0)) as taken:
    try:
        serve_run(Path({str(tiny_run.path)!r}), [], None, *taken.getsockname())
    except ConfigError:
        print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_an_engine_that_computes_for_ever_does_not_keep_the_program():
    @asynccontextmanager
    async def opened():
        yield 1

    async def block():
        sleep(2)

    engine = EngineThread(opened())
    assert engine.open() == 1
    engine.submit(block())
    sleep(0.1)
    assert not engine.close(0.3)


def test_what_opening_raises_is_raised():
    @asynccontextmanager
    async def opened():
        raise ConfigError("no such model")
        yield

    engine = EngineThread(opened())
    with pytest.raises(ConfigError, match="no such model"):
        engine.open()
    assert engine.close(5)


def test_a_checkpoint_that_is_not_there_is_named(tiny_run):
    with pytest.raises(RunError, match="has no checkpoint of step 7; there are: 0, 2"):
        serve_run(tiny_run.path, [], 7, "127.0.0.1", 0)


def test_a_role_may_be_played_by_a_server_and_its_loss_is_a_bad_gateway(tiny_run):
    gone = 'policy.shared.endpoint={url="http://127.0.0.1:9/v1", model="m", retries=0}'
    with served(tiny_run.path, gone) as (url, _), openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError, match="policy 'shared': m at http") as caught:
            ask(client)
        assert caught.value.status_code == 502


def test_a_judge_passed_from_python_is_not_needed_to_serve(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    config.write_text(re.sub(r'\[judge\]\nname = "\w+"', '[judge]\nname = "given:mine"', config.read_text()))
    assert Run.read(tmp_path / "run").config.judge.name == "given:mine"
    assert to_be_served(tmp_path / "run").config.judge.name == "task"
