"""Roles that a server plays: asked over real HTTP, never trained, and missed without ending the run when it is gone."""

import asyncio
import json
import re
from datetime import date
from time import monotonic

import polars as pl
import pytest
from chat_server import chat_server
from facts import user
from torch_build import start, trained

from counterpoint.adapter import Adapter
from counterpoint.cli.main import main
from counterpoint.config import EndpointConfig
from counterpoint.episode import calls_of, read_episodes
from counterpoint.errors import ConfigError, EndpointError, SamplerError, folded_traceback
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.samplers._reply import UnusableError, read_reply
from counterpoint.samplers.base import Request
from counterpoint.samplers.by_policy import ByPolicy
from counterpoint.samplers.endpoint import Endpoint
from counterpoint.training import train


def ask(url: str, count: int = 1, **settings):
    """The completions of so many requests at once."""

    async def asked():
        endpoint = Endpoint("judge", EndpointConfig(url=url, model="oracle", **settings))
        request = Request(
            policy="judge",
            prompt_ids=(),
            messages=(user("Which?"),),
            max_tokens=9,
            temperature=0.5,
            seed=2**40 + 3,
        )
        try:
            with endpoint.session() as session:
                return await asyncio.gather(*(session.sample(request) for _ in range(count)))
        finally:
            await endpoint.close()

    return asyncio.run(asked())


def test_a_request_is_a_chat_completion_and_its_answer_is_text_without_ids(tmp_path):
    with chat_server(tmp_path, reply="two") as server:
        (completion,) = ask(server.url, body={"top_p": 0.9})
        (seen,) = server.requests()
    assert (completion.text, completion.tokens, completion.finish) == ("two", 7, "stop")
    assert (completion.ids, completion.logprobs, completion.version) == ((), (), 0)
    assert seen["path"] == "/v1/chat/completions"
    assert seen["body"] == {
        "model": "oracle",
        "messages": [{"role": "user", "content": "Which?"}],
        "temperature": 0.5,
        "seed": 3,
        "max_tokens": 9,
        "top_p": 0.9,
    }


def test_the_name_of_the_limit_and_the_key_are_the_servers(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    with chat_server(tmp_path) as server:
        ask(server.url, limit_field="max_completion_tokens", key_variable="MY_KEY")
        (seen,) = server.requests()
    assert seen["body"]["max_completion_tokens"] == 9
    assert "max_tokens" not in seen["body"]
    assert seen["key"] == "Bearer secret"


def test_failed_attempts_are_tried_again_and_leave_one_completion(tmp_path):
    with chat_server(tmp_path, failures=[503, 429]) as server:
        (completion,) = ask(server.url, retries=2)
        assert len(server.requests()) == 3
        assert len({json.dumps(seen["body"]) for seen in server.requests()}) == 1
    assert completion.text == r"\boxed{1}"


def test_attempts_come_to_an_end(tmp_path):
    with chat_server(tmp_path, failures=[503] * 9) as server:
        with pytest.raises(EndpointError, match=r"policy 'judge': oracle at http.* did not answer: .*not today"):
            ask(server.url, retries=1)
        assert len(server.requests()) == 2


def test_what_the_server_calls_wrong_is_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with chat_server(tmp_path, failures=[400]) as server:
        with pytest.raises(EndpointError, match="not today") as caught:
            ask(server.url)
        assert len(server.requests()) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-SECRET\r", " sk-SECRET\n"])
def test_blanks_around_a_key_are_no_part_of_it(tmp_path, monkeypatch, key):
    monkeypatch.setenv("MY_KEY", key)
    with chat_server(tmp_path) as server:
        ask(server.url, key_variable="MY_KEY")
        (seen,) = server.requests()
    assert seen["key"] == "Bearer sk-SECRET"


def test_an_empty_key_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "")
    with chat_server(tmp_path) as server:
        ask(server.url, key_variable="MY_KEY")
        (seen,) = server.requests()
    assert seen["key"] == "Bearer none"


@pytest.mark.parametrize("key", ["sk-SE\nCRET", "sk-SE\N{BULLET}CRET"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_told(monkeypatch, key):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="the key in MY_KEY has a character that cannot be sent") as caught:
        ask("http://127.0.0.1:9/v1", key_variable="MY_KEY")
    assert "CRET" not in str(caught.value)


@pytest.mark.parametrize("behaviour", [{"failures": [401], "refusal": "sk-SECRET"}, {"body": {"error": "sk-SECRET"}}])
def test_a_key_that_the_server_quotes_is_in_no_error(tmp_path, monkeypatch, behaviour):
    monkeypatch.setenv("MY_KEY", "sk-SECRET")
    with chat_server(tmp_path, **behaviour) as server, pytest.raises(EndpointError, match=r"\*\*\*") as caught:
        ask(server.url, key_variable="MY_KEY", retries=0)
    assert "sk-SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "behaviour",
    [
        {"failures": [401], "refusal": "sk-SECRET"},
        {"failures": [401], "refusal": "x" * 145 + "sk-SECRET"},
        {"body": {"error": "x" * 195 + "sk-SECRET"}},
    ],
)
def test_a_key_that_the_server_quotes_is_not_in_what_an_episode_keeps_nor_is_its_beginning(
    tmp_path, monkeypatch, behaviour
):
    monkeypatch.setenv("MY_KEY", "sk-SECRET")
    with chat_server(tmp_path, **behaviour) as server, pytest.raises(EndpointError, match=r"\*\*\*") as caught:
        ask(server.url, key_variable="MY_KEY", retries=0)
    assert "sk-" not in f"{caught.value}{folded_traceback(caught.value)}"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HTTP_PROXY", "ftp://10.0.0.1:3128", "ValueError: Unknown scheme for proxy"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem", "FileNotFoundError: "),
    ],
)
def test_settings_of_the_machine_that_no_client_takes_are_an_error_in_one_line(monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"^policy 'judge': oracle at http.* cannot be asked from here: {message}"):
        ask("http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://host/v1?api-version=1", "without anything from a ? or a # on"),
        ("http://host/v1#part", "without anything from a ? or a # on"),
        ("http://host/v1\x01", "without blanks"),
        ("http://host /v1", "without blanks"),
        ("http://[::1/v1", "host and port"),
        ("http://host:99999/v1", "host and port"),
        ("http://:8000/v1", "host and port"),
    ],
)
def test_an_address_below_which_there_are_no_paths_is_refused(url, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        config_from({"policy": {"judge": {"endpoint": {"url": url, "model": "oracle"}}}})


def test_an_address_may_be_one_of_ipv6():
    EndpointConfig(url="http://[::1]:8000/v1", model="oracle")


@pytest.mark.parametrize("value", [date(2026, 11, 28), [float("inf")], {"deep": float("nan")}])
def test_a_field_that_json_does_not_have_is_refused(value):
    table = {"url": "http://host/v1", "model": "oracle", "body": {"top_p": 0.9, "odd": value}}
    with pytest.raises(ConfigError, match=r"policy\.judge\.endpoint\.body .*odd should be of what JSON has"):
        config_from({"policy": {"judge": {"endpoint": table}}})


def test_a_server_that_hangs_is_given_up_in_time(tmp_path):
    with chat_server(tmp_path, hang=30) as server:
        began = monotonic()
        with pytest.raises(EndpointError, match="did not answer: APITimeoutError"):
            ask(server.url, timeout=0.3, retries=0)
        assert monotonic() - began < 20


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(EndpointError, match=r"oracle at http://127\.0\.0\.1:9/v1 did not answer: APIConnectionError"):
        ask("http://127.0.0.1:9/v1", retries=0)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"body": {"choices": []}}, "something else than a chat completion"),
        ({"body": {"hello": "world"}}, "something else than a chat completion"),
        ({"body": []}, "something else than a chat completion"),
        ({"body": "not json"}, "did not answer|something else"),
        ({"kind": "application/json; charset=hex"}, "did not answer: AssertionError"),
        ({"reply": None}, "gave no text to use"),
        ({"finish": "content_filter"}, "gave no text to use: it finished with 'content_filter'"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error(tmp_path, behaviour, message):
    with chat_server(tmp_path, **behaviour) as server, pytest.raises(EndpointError, match=message):
        ask(server.url, retries=0)


def body_of(message, finish="stop", **beside):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"completion_tokens": 7}, **beside})


TEXT = {"type": "text", "text": "two"}
CUT = {"completion_tokens": 9}


@pytest.mark.parametrize(
    ("body", "text", "reasoning", "finish", "tokens"),
    [
        (body_of({"content": "two"}), "two", None, "stop", 7),
        (body_of({"content": "two"}, usage=None), "two", None, "stop", 0),
        (body_of({"content": "two"}, usage={}), "two", None, "stop", 0),
        (body_of({"content": "two"}, usage={"completion_tokens": None}), "two", None, "stop", 0),
        (body_of({"content": "two"}, usage={"completion_tokens": 3.0}), "two", None, "stop", 3),
        (body_of({"content": "two"}, usage={"completion_tokens": "3"}), "two", None, "stop", 0),
        (body_of({"content": "two"}, usage="none"), "two", None, "stop", 0),
        (body_of({"content": [TEXT]}), "two", None, "stop", 7),
        (body_of({"content": [TEXT, {"type": "text", "text": " and three"}]}), "two and three", None, "stop", 7),
        (body_of({"content": [{"type": "output_text", "text": "two"}]}), "two", None, "stop", 7),
        (body_of({"content": [{"text": "two"}]}), "two", None, "stop", 7),
        (body_of({"content": ["two"]}), "two", None, "stop", 7),
        (
            body_of({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, TEXT]}),
            "two",
            "hm",
            "stop",
            7,
        ),
        (body_of({"content": [{"type": "reasoning", "text": "hm"}, TEXT]}), "two", "hm", "stop", 7),
        (body_of({"content": [], "reasoning": "hm"}), "", "hm", "stop", 7),
        (body_of({"content": None, "reasoning_content": "hm"}, "length"), "", "hm", "length", 7),
        (body_of({"reasoning_content": "hm"}, "length"), "", "hm", "length", 7),
        (body_of({"reasoning": "hm"}), "", "hm", "stop", 7),
        (body_of({"content": "two", "reasoning_content": None}), "two", None, "stop", 7),
        (body_of({"content": "two", "reasoning_content": ""}), "two", None, "stop", 7),
        (body_of({"content": ""}), "", None, "stop", 7),
        (body_of({"content": "two", "tool_calls": []}), "two", None, "stop", 7),
        (body_of({"content": "two", "tool_calls": None, "refusal": None, "audio": None}), "two", None, "stop", 7),
        (body_of({"content": "two"}, None), "two", None, "stop", 7),
        (body_of({"content": "two"}, None, usage=CUT), "two", None, "length", 9),
        (body_of({"content": "two"}, ""), "two", None, "stop", 7),
        (body_of({"content": "two"}, "", usage=CUT), "two", None, "length", 9),
        ("\ufeff" + body_of({"content": "two"}), "two", None, "stop", 7),
        (body_of({"content": "two"}, "eos"), "two", None, "stop", 7),
        (body_of({"content": "two"}, "eos_token"), "two", None, "stop", 7),
        (body_of({"content": "two"}, "STOP"), "two", None, "stop", 7),
        (body_of({"content": "two"}, "end_turn"), "two", None, "stop", 7),
        (body_of({"content": "two"}, "max_tokens"), "two", None, "length", 7),
        (body_of({"content": "two"}, error=None), "two", None, "stop", 7),
        (body_of({"content": "two \ud800 three"}), "two \ufffd three", None, "stop", 7),
        (body_of({"content": "\N{GRINNING FACE}"}), "\N{GRINNING FACE}", None, "stop", 7),
    ],
)
def test_every_way_of_writing_a_reply_is_read(body, text, reasoning, finish, tokens):
    reply = read_reply(body, 9)
    assert (reply.text, reply.reasoning, reply.finish, reply.tokens) == (text, reasoning, finish, tokens)
    reply.text.encode()


def test_a_finish_that_is_missing_is_no_other_than_none():
    table = json.loads(body_of({"content": "two"}))
    del table["choices"][0]["finish_reason"]
    del table["usage"]
    assert read_reply(json.dumps(table), 9).finish == "stop"


CALL = {"type": "function", "function": {"name": "add", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "it answered with something else than JSON: nothing"),
        ("<html>\n<h1>502 Bad Gateway</h1>", "something else than JSON: <html> <h1>502 Bad Gateway</h1>"),
        ("{" * 100_000, "something else than JSON: {{{"),
        ('data: {"choices": []}\n\ndata: [DONE]\n\n', "a stream of events, and not with one chat completion"),
        (": ping\n\ndata: {}", "a stream of events"),
        ("null", "something else than a chat completion: null"),
        ('"two"', "something else than a chat completion: two"),
        ("{}", "something else than a chat completion: {}"),
        ('{"choices": null}', 'something else than a chat completion: {"choices": null}'),
        ('{"choices": {}}', "something else than a chat completion"),
        ('{"choices": []}', "something else than a chat completion: choices = []"),
        ('{"choices": [null]}', "something else than a chat completion: choices = [null]"),
        ('{"choices": [{"text": "two"}]}', 'its choice has no message, but {"text": "two"}'),
        ('{"choices": [{"message": null}]}', "its choice has no message"),
        ('{"choices": [{"message": "two"}]}', "its choice has no message"),
        ('{"error": {"message": "model\\nis loading", "code": 503}}', "it answered with an error: model is loading"),
        ('{"error": "overloaded"}', "it answered with an error: overloaded"),
        ('{"error": {"code": 7}}', 'it answered with an error: {"code": 7}'),
        (body_of({"content": None}), "its message has no content, and finished with 'stop'"),
        (body_of({}), "its message has no content"),
        (body_of({"content": []}), "its message has no content"),
        (body_of({"content": None}, "abort"), "it finished with 'abort'"),
        (body_of({"content": "two"}, "abort"), "it finished with 'abort'; known: stop, eos,"),
        (body_of({"content": "two"}, "content_filter"), "it finished with 'content_filter'"),
        (body_of({"content": "two"}, "error"), "it finished with 'error'"),
        (body_of({"content": "two"}, 7), "it finished with 7"),
        (body_of({"content": "two"}, "tool_calls"), "it finished with 'tool_calls'"),
        (body_of({"content": None, "tool_calls": [CALL]}, "tool_calls"), "it called tools instead of replying"),
        (body_of({"content": "two", "tool_calls": [CALL]}), "it called tools instead of replying"),
        (body_of({"content": None, "function_call": CALL}), "it called tools instead of replying"),
        (body_of({"content": None, "refusal": "I cannot."}), "it refused: I cannot."),
        (body_of({"content": 2}), "its content is 2"),
        (body_of({"content": {"text": "two"}}), "its content is {"),
        (body_of({"content": [{"type": "image_url", "image_url": {}}]}), "a part of its content is {"),
        (body_of({"content": [{"type": "text", "text": None}]}), "a part of its content is {"),
        (body_of({"content": [{"type": "refusal", "refusal": "no"}]}), "a part of its content is {"),
        (body_of({"content": [TEXT, 7]}), "a part of its content is 7"),
        (body_of({"content": None, "refusal": "no \ud83d"}), "it refused: no \ufffd"),
        ('{"error": {"message": "bad \\ud83d"}}', "it answered with an error: bad \ufffd"),
    ],
)
def test_what_is_no_reply_is_one_line_that_says_what_is_missing(body, message):
    with pytest.raises(UnusableError) as caught:
        read_reply(body, 9)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "behaviour",
    [
        {"kind": "text/plain"},
        {"kind": "application/json; charset=utf-8"},
        {"zip": True},
        {"location": "/v2/chat/completions"},
        {"failures": [429, 503], "pause": 0},
        {"failures": [408, 409, 500, 502], "pause": 0.01},
    ],
)
def test_what_http_allows_changes_no_reply(tmp_path, behaviour):
    with chat_server(tmp_path, reply="zwei \N{GRINNING FACE}", **behaviour) as server:
        (completion,) = ask(server.url)
    assert completion.text == "zwei \N{GRINNING FACE}"


def test_an_error_names_the_server_in_one_line(tmp_path):
    with chat_server(tmp_path, body="<html>\n\n" + "x" * 5000, kind="text/html") as server:
        with pytest.raises(EndpointError) as caught:
            ask(server.url, retries=0)
        told = str(caught.value)
    assert told.startswith(
        f"policy 'judge': oracle at {server.url}: it answered with something else than JSON: <html> x"
    )
    assert "\n" not in told
    assert len(told) < 400


@pytest.mark.parametrize("url", ["localhost:8000/v1", "", "ftp://x/v1", "http://", "://", "x"])
def test_an_address_that_is_none_is_refused_when_the_recipe_is_read(url):
    with pytest.raises(ConfigError, match=r"policy\.judge\.endpoint\.url = "):
        config_from({"policy": {"judge": {"endpoint": {"url": url, "model": "m"}}}})


def test_only_so_many_calls_are_under_way_at_once(tmp_path):
    with chat_server(tmp_path, hang=0.2) as server:
        began = monotonic()
        assert len(ask(server.url, count=4, concurrency=1)) == 4
        assert monotonic() - began >= 0.8


def test_a_policy_without_a_sampler_is_refused():
    request = Request(policy="nobody", prompt_ids=(1, 2), max_tokens=1, temperature=1.0, seed=0)
    sampler = ByPolicy({})

    async def asked():
        with sampler.session() as session:
            await session.sample(request)

    with pytest.raises(SamplerError, match="unknown policy 'nobody'"):
        asyncio.run(asked())
    with pytest.raises(SamplerError, match="unknown policy 'nobody'"):
        asyncio.run(sampler.load([Adapter(policy="nobody", version=0, scale=1.0, tensors={})]))


def test_an_endpoint_cannot_be_trained():
    table = {"policy": {"judge": {"trainable": True, "endpoint": {"url": "http://x/v1", "model": "m"}}}}
    with pytest.raises(
        ConfigError, match=r"policy 'judge' uses an endpoint, which cannot be trained.*log-probabilities"
    ):
        config_from(table).policy_settings("judge")


def recipe(url: str, **run):
    """The choir, conducted by a server: every episode asks it once."""
    endpoint = {"url": url, "model": "oracle", "retries": 0, "timeout": 10.0}
    return {
        "policy": {"conductor": {"endpoint": endpoint}},
        "evaluation": {"every": 1},
        "run": {"steps": 6, "save_every": 1, **run},
    }


@pytest.fixture(scope="module")
def outage(tmp_path_factory):
    """A run whose server is killed after step 2 and comes back after step 4."""
    folder = tmp_path_factory.mktemp("outage")
    with chat_server(folder) as server:

        def watch(step, numbers):
            if "time/step" in numbers and step == 2:
                server.kill()
            if "time/step" in numbers and step == 4:
                server.start()

        yield trained(start(folder / "run", recipe(server.url)), watch=watch), server


def test_the_role_of_a_server_is_in_every_episode_and_in_no_loss(outage):
    run, _ = outage
    calls = [call for _, call in calls_of(read_episodes(run.path / "episodes" / "000001.parquet"))]
    asked = [call for call in calls if call.key.role == "conductor"]
    assert len(asked) == 12
    assert {(call.completion_ids, call.logprobs, call.tokens, call.text) for call in asked} == {
        ((), (), 7, r"\boxed{1}")
    }
    assert all(call.messages for call in asked)
    assert set(pl.read_parquet(run.path / "samples" / "000001.parquet")["role"]) == {"soprano", "alto"}
    metrics = run.metric_rows()[0]
    assert metrics["role/conductor/tokens"] == 7
    assert "role/conductor/entropy" not in metrics
    assert "policy/conductor/trained" not in metrics
    assert not (run.checkpoint_path(1) / "conductor").exists()


def test_while_the_server_is_gone_episodes_fail_with_their_kind_and_the_run_goes_on(outage):
    run, _ = outage
    metrics = {row["step"]: row for row in run.metric_rows()}
    assert sorted(metrics) == [1, 2, 3, 4, 5, 6]
    for step in (3, 4):
        groups = read_episodes(run.path / "episodes" / f"{step:06d}.parquet")
        episodes = [episode for group in groups for episode in group.episodes]
        assert {(one.error_kind, one.score.reward, one.success) for one in episodes} == {("endpoint", None, None)}
        assert all("EndpointError: policy 'conductor': oracle at" in one.error for one in episodes)
        assert metrics[step]["episode/errors"] == metrics[step]["episode/errors/endpoint"] == 12
        assert metrics[step]["policy/soprano/trained"] == 0.0
    for step in (2, 5, 6):
        assert metrics[step]["episode/errors"] == 0


def test_evaluations_are_missed_and_not_taken_for_failures(outage):
    run, _ = outage
    steps = [row["step"] for row in run.evaluation_rows() if row["split"] == "test"]
    assert steps == [0, 1, 4, 5, 6]  # it was gone before the evaluation of step 2, and back before that of step 4
    assert all(row["numbers"]["episode/errors"] == 0 for row in run.evaluation_rows())


def test_a_server_that_stays_away_ends_the_run_which_can_be_resumed(tmp_path):
    with chat_server(tmp_path) as server:

        def watch(step, numbers):
            if "time/step" in numbers and step == 1:
                server.kill()

        path = tmp_path / "run"
        with pytest.raises(EndpointError, match=r"every episode of 2 steps in a row \(run.patience\) failed"):
            trained(start(path, recipe(server.url, steps=4, patience=2)), watch=watch)
        assert Run.read(path).checkpoints()[-1] == 2
        server.start()
        with Run.open(path) as again:
            asyncio.run(train(again))
        assert again.metric_rows()[-1]["episode/errors"] == 0
        assert again.checkpoints()[-1] == 4


def test_a_server_that_was_never_there_is_an_error_before_the_first_step(tmp_path):
    run = start(tmp_path / "run", recipe("http://127.0.0.1:9/v1"))
    with pytest.raises(EndpointError, match="none of the 3 validation tasks was answered; first: EndpointError"):
        trained(run)


def test_a_workflow_played_by_servers_alone_can_be_measured(tmp_path, capsys, monkeypatch):
    with chat_server(tmp_path, reply=r"It is \boxed{0}.") as server:
        table = ["task.train=40", "task.validation=2", "task.test=5", "workflow.name=single", "run.threads=1"]
        play = [f'policy.generator.endpoint={{url="{server.url}", model="oracle"}}']
        monkeypatch.setattr("sys.argv", ["counterpoint", "evaluate", "micro-medium", *table, *play])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        assert len(server.requests()) == 5
    printed = capsys.readouterr().out
    assert "accuracy on 5 test tasks" in printed
    assert "failed: 0; not judged: 0" in printed
