"""Chat completions from episodes, whole or as the events of a stream, and errors, all in OpenAI's format."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any

from counterpoint.episode import Answer, Call, Choice, Episode
from counterpoint.serve.asking import Ask

DONE = "data: [DONE]\n\n"
WAITING = ": the workflow is being played\n\n"
"""A comment in a stream of events, so that nobody on the way takes the connection for dead."""
_LONGEST = 1000
"""Characters of a complaint, which may quote the request."""


def completion(model: str, ask: Ask, episodes: Sequence[Episode]) -> dict[str, Any]:
    """The response to a request: one choice per episode."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": content}, "logprobs": None} | rest
        for index, (content, rest) in enumerate(_ending(ask, episode) for episode in episodes)
    ]
    return _head(model, "chat.completion") | {"choices": choices, "usage": _usage(episodes)}


@dataclass(frozen=True, slots=True)
class Chunks:
    """The events of a streamed response. The content comes whole, because only the end of an episode decides it."""

    model: str
    ask: Ask
    head: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "head", _head(self.model, "chat.completion.chunk"))

    def first(self) -> Iterator[str]:
        """The events before anything is played."""
        for index in range(self.ask.choices):
            yield self._event(index, {"role": "assistant", "content": ""}, {"finish_reason": None})

    def last(self, episodes: Sequence[Episode]) -> Iterator[str]:
        for index, episode in enumerate(episodes):
            content, rest = _ending(self.ask, episode)
            if content:
                yield self._event(index, {"content": content}, {"finish_reason": None})
            yield self._event(index, {}, rest)
        if self.ask.with_usage:
            yield event({**self.head, "choices": [], "usage": _usage(episodes)})
        yield DONE

    def _event(self, index: int, delta: Mapping[str, Any], rest: Mapping[str, Any]) -> str:
        choice = {"index": index, "delta": delta, "logprobs": None, **rest}
        return event({**self.head, "choices": [choice]} | ({"usage": None} if self.ask.with_usage else {}))


def event(content: Mapping[str, Any]) -> str:
    """An event of a stream."""
    return f"data: {json.dumps(content)}\n\n"


def complaint(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's servers report it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message[:_LONGEST], "type": kind, "param": param, "code": code}}


def about_model(name: str, created: int) -> dict[str, Any]:
    """The entry of a model in a list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "counterpoint"}


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time()), "model": model}


def _ending(ask: Ask, episode: Episode) -> tuple[str, dict[str, Any]]:
    """The content of a choice, empty if the workflow gives no answer, and the fields beside its end."""
    won = _winner(episode)
    content, finish = (episode.answer or "", _silence(episode)) if won is None else (won.text, won.finish)
    ends = [place for place in (content.find(mark) for mark in ask.stop) if place >= 0]
    if ends:
        content, finish = content[: min(ends)], "stop"
    told = {"answer": episode.answer, "replies": [_reply(call, call is won) for call in episode.calls]}
    return content, {"finish_reason": finish, "counterpoint": told}


def _silence(episode: Episode) -> str:
    """The end of an episode whose answer no reply gave: its limit of tokens, if it has none and a reply was cut off."""
    cut = episode.answer is None and any(call.finish == "length" for call in episode.calls)
    return "length" if cut else "stop"


def _usage(episodes: Sequence[Episode]) -> dict[str, int]:
    calls = [call for episode in episodes for call in episode.calls]
    asked, said = sum(len(call.prompt_ids) for call in calls), sum(call.tokens for call in calls)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _winner(episode: Episode) -> Call | None:
    """The call whose answer is the episode's: of several the chosen one, else the last; None if there is none."""
    claims = [call.claim for call in episode.calls]
    chosen = {claim.candidates[claim.index] for claim in claims if isinstance(claim, Choice)}
    won = [call for call in episode.calls if isinstance(call.claim, Answer) and call.claim.text == episode.answer]
    return max(reversed(won), key=lambda call: call.key in chosen, default=None)


def _reply(call: Call, won: bool) -> dict[str, Any]:
    about = {"policy": call.policy, "text": call.text, "finish_reason": call.finish, "tokens": call.tokens}
    return {**call.key._asdict(), **about, "won": won}
