"""A request for chat completions: which of OpenAI's fields are honoured, ignored or refused."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from counterpoint.errors import ConfigError, unknown
from counterpoint.options import explain

MOST_CHOICES = 128
"""The largest `n`, as in OpenAI's interface."""

_IGNORED = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that do not change the reply."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "chat_template_kwargs": ({},),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "ignore_eos": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_p": (0,),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_k": (-1, 0),
    "top_logprobs": (0,),
    "top_p": (1,),
    "use_beam_search": (False,),
    "verbosity": ("medium",),
}
"""Fields that are not supported -> the values that ask for nothing, which many clients send."""

Positive = Annotated[int, Field(ge=1)]


class RefusedError(ConfigError):
    """A request that is not valid or not supported: the HTTP status, and the field and code of OpenAI's error."""

    def __init__(self, message: str, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


class Said(BaseModel):
    """One message of a request."""

    role: str
    content: Any = None
    """Read only in the last message."""


class StreamOptions(BaseModel):
    """Options of a streamed response."""

    include_usage: bool | None = None


class Body(BaseModel):
    """The fields of a request that are honoured."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: Annotated[list[Said], Field(min_length=1)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The content of a request."""

    text: str
    """The problem."""
    choices: int = 1
    """The number of episodes that are played."""
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    """The longest reply of a role; None for that of the run."""
    stop: tuple[str, ...] = ()
    stream: bool = False
    with_usage: bool = False
    """True if a streamed response ends with the number of tokens."""


def read_ask(body: bytes, model: str) -> Ask:
    """The content of a request to the model named `model`. Raises RefusedError, which names the field and its value."""
    table = _table(body)
    try:
        read = Body.model_validate(_honoured(table))
    except ValidationError as error:
        raise RefusedError(explain(error, Body), param=_field(error)) from None
    if read.model != model:
        raise RefusedError(unknown("model", read.model, [model]), 404, "model", "model_not_found")
    limits = [most for most in (read.max_tokens, read.max_completion_tokens) if most is not None]
    stop = [read.stop] if isinstance(read.stop, str) else read.stop or []
    return Ask(
        text=_problem(read.messages[-1]),
        choices=read.n or 1,
        temperature=read.temperature,
        seed=read.seed,
        max_tokens=min(limits, default=None),
        stop=tuple(one for one in stop if one),
        stream=bool(read.stream),
        with_usage=read.stream_options is not None and bool(read.stream_options.include_usage),
    )


def _table(body: bytes) -> Mapping[str, Any]:
    try:
        table = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the request is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise RefusedError(f"the request must be a JSON object, not {type(table).__name__}")
    return table


def _honoured(table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that ask for something. Raises RefusedError for one that asks for what is not supported."""
    kept = {}
    for field, value in table.items():
        if value is None or field in _IGNORED:
            continue
        if field not in _NEUTRAL:
            kept[field] = value
        elif value not in _NEUTRAL[field]:
            allowed = " or ".join(map(json.dumps, _NEUTRAL[field]))
            raise RefusedError(f"{field} = {json.dumps(value)} is not supported; allowed: {allowed}", param=field)
    return kept


def _problem(last: Said) -> str:
    """The text of the last message; parts are joined by a line break, as vLLM joins them."""
    text = last.content if isinstance(last.content, str) else "\n".join(_text(part) for part in _parts(last.content))
    if last.role != "user" or not text.strip():
        raise RefusedError("the last message must have the role 'user' and contain the problem", param="messages")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(f"the last message cannot be written as UTF-8: {error}", param="messages") from None
    return text


def _parts(content: Any) -> list[Any]:
    if content is not None and not isinstance(content, list):
        raise RefusedError(
            f"the last message has the content {json.dumps(content)}; allowed: text, or a list of parts",
            param="messages",
        )
    return content or []


def _text(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text" or not isinstance(part.get("text"), str):
        told = f"of type {kind!r}" if kind not in (None, "text") else json.dumps(part)
        raise RefusedError(f"the last message has a part {told}; allowed: text", param="messages")
    return str(part["text"])


def _field(error: ValidationError) -> str | None:
    place = error.errors()[0]["loc"]
    return str(place[0]) if place else None
