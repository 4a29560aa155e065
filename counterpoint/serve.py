"""A trained workflow served as one chat model: the last message is the problem, the reply is the winning answer."""

import json
import secrets
from dataclasses import dataclass, replace
from time import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from counterpoint.episode import Answer, Call, Choice, Episode
from counterpoint.errors import ConfigError, EndpointError, unknown
from counterpoint.options import explain
from counterpoint.play import Limits, Stage, rollout
from counterpoint.task import Problem, Score, Task, not_judged

_GREEDY = 1e-6
"""The temperature used in place of 0, because samplers divide by it."""


class Said(BaseModel):
    """One message of a request."""

    role: Literal["system", "user", "assistant"]
    content: str


class Ask(BaseModel):
    """The fields that a request may have; any other field is an error."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: Annotated[list[Said], Field(min_length=1)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An open workflow that answers chat completion requests."""

    name: str
    """The model name that a request must give."""
    stage: Stage
    limits: Limits
    like: Problem
    """One of the run's problems, from which the answer format and the reading of answers are taken."""

    async def complete(self, body: bytes) -> dict[str, Any]:
        """The chat completion that a request's body asks for.

        Raises ConfigError if the request is invalid or not supported, WorkflowError if the workflow fails on the
        problem, EndpointError if a server that generates for a role cannot be reached.
        """
        ask = self._read(body)
        temperature = self.limits.temperature if ask.temperature is None else max(ask.temperature, _GREEDY)
        seed = secrets.randbits(63) if ask.seed is None else ask.seed
        task = Task(problem=replace(self.like, id="asked", text=ask.messages[-1].content), key="", judge=_unjudged)
        limits = replace(self.limits, temperature=temperature)
        (group,) = await rollout(self.stage, [task], limits, size=1, seed=f"{seed}/serve")
        (episode,) = group.episodes
        if episode.error is not None:
            raise EndpointError(episode.error)
        return _completion(self.name, episode)

    def _read(self, body: bytes) -> Ask:
        try:
            ask = Ask.model_validate(json.loads(body))
        except ValidationError as error:
            raise ConfigError(explain(error, Ask)) from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the request is not JSON: {error}") from None
        if ask.model != self.name:
            raise ConfigError(unknown("model", ask.model, [self.name]))
        if ask.messages[-1].role != "user" or not ask.messages[-1].content.strip():
            raise ConfigError("the last message must have the role 'user' and contain the problem")
        return ask


async def _unjudged(answer: str, key: str) -> Score:
    return not_judged("the right answer is not known")


def _completion(name: str, episode: Episode) -> dict[str, Any]:
    won = _winner(episode)
    content, finish = (episode.answer, "stop") if won is None else (won.text, won.finish)
    message = {"role": "assistant", "content": content}
    asked, said = sum(len(call.prompt_ids) for call in episode.calls), sum(call.tokens for call in episode.calls)
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time()),
        "model": name,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
        "counterpoint": {"answer": episode.answer, "replies": [_reply(call, call is won) for call in episode.calls]},
    }


def _winner(episode: Episode) -> Call | None:
    """The call whose answer is the episode's: of several the chosen one, else the last; None if there is none."""
    claims = [call.claim for call in episode.calls]
    chosen = {claim.candidates[claim.index] for claim in claims if isinstance(claim, Choice)}
    won = [call for call in episode.calls if isinstance(call.claim, Answer) and call.claim.text == episode.answer]
    return max(reversed(won), key=lambda call: call.key in chosen, default=None)


def _reply(call: Call, won: bool) -> dict[str, Any]:
    about = {"policy": call.policy, "text": call.text, "finish_reason": call.finish, "tokens": call.tokens}
    return {**call.key._asdict(), **about, "won": won}
