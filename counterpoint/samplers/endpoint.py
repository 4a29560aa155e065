"""A server with OpenAI's chat completions interface. Its weights are out of reach: its replies are never trained on."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from openai import AsyncOpenAI

from counterpoint.adapter import Adapter
from counterpoint.chat import parted
from counterpoint.clock import timed
from counterpoint.config import EndpointConfig
from counterpoint.errors import ConfigError, EndpointError
from counterpoint.samplers._reply import CUT, UnusableError, quoted, read_reply
from counterpoint.samplers.base import Completion, Request, Session

_LONGEST_PAUSE = 60.0
"""The longest time, in seconds, that the client waits before another attempt when a server asks it to."""
_SEEDS = 2**31
"""Servers take seeds below this."""


class Endpoint:
    """One model of one server. A request has one completion or an error, however many attempts it took."""

    def __init__(self, policy: str, config: EndpointConfig) -> None:
        """Raises ConfigError for a key that cannot be sent, and for settings of this machine that no client takes."""
        self._name = f"policy {policy!r}: {config.model} at {config.url}"
        self._config = config
        self._key = _key_in(config.key_variable)
        try:
            self._client = AsyncOpenAI(
                base_url=config.url,
                api_key=self._key or "none",
                timeout=config.timeout,
                max_retries=config.retries,
            )
        except Exception as error:  # such as a proxy's address in the environment, or a file of certificates
            raise ConfigError(f"{self._name} cannot be asked from here: {self._quoted(error)}") from None
        self._places = asyncio.Semaphore(config.concurrency)

    @contextmanager
    def session(self) -> Iterator[Session]:
        yield self

    async def sample(self, request: Request) -> Completion:
        """Raises EndpointError if the server is out of reach, too slow, refuses, or gives no usable reply."""
        longest = (self._config.retries + 1) * (self._config.timeout + _LONGEST_PAUSE)
        async with self._places:
            try:
                async with asyncio.timeout(longest):
                    reply = await self._ask(request)
            except TimeoutError:
                raise EndpointError(f"{self._name} did not finish its answer within {longest:g} s") from None
            except Exception as error:  # whatever the client makes of what the server sent
                # Without its cause, whose text would be recorded with the key that a server may quote.
                raise EndpointError(f"{self._name} did not answer: {self._quoted(error)}") from None
        return self._completion(reply, request.max_tokens)

    async def load(self, adapters: Sequence[Adapter]) -> None:
        """Does nothing: a policy of an endpoint has no adapter."""

    def digests(self) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        """Its connections are closed."""
        await self._client.close()

    async def _ask(self, request: Request) -> str:
        body = {
            "model": self._config.model,
            "messages": list(request.messages),
            "temperature": request.temperature,
            "seed": request.seed % _SEEDS,
            self._config.limit_field: request.max_tokens,
            **self._config.body,
        }
        with timed("sampling"):
            return await self._client.post("/chat/completions", cast_to=str, body=body)

    def _completion(self, body: str, most: int) -> Completion:
        try:
            reply = read_reply(body, most)
        except UnusableError as error:
            raise EndpointError(f"{self._name}: {self._hidden(str(error))}") from None
        apart, text = reply.reasoning, reply.text
        parts = (apart, text) if apart is not None else parted(text, self._config.thinking, self._config.reasoning_end)
        return Completion(
            ids=(),
            logprobs=(),
            finish=reply.finish,
            version=0,
            text=parts[1],
            reasoning=parts[0],
            tokens=reply.tokens,
        )

    def _quoted(self, error: BaseException) -> str:
        """An error in one line, with its cause, which may be all that it says, and without the key."""
        cause = error.__cause__
        because = f" ({type(cause).__name__}: {cause})" if cause is not None and str(cause) else ""
        return self._hidden(quoted(f"{type(error).__name__}: {error}{because}"))

    def _hidden(self, text: str) -> str:
        """The text without the key, or its beginning where a quotation is cut in it: errors are recorded."""
        if not self._key:
            return text
        text = text.replace(self._key, "***")
        begun = next((end for end in range(len(self._key), 0, -1) if text.endswith(self._key[:end] + CUT)), 0)
        return text.removesuffix(self._key[:begun] + CUT) + "***" + CUT if begun else text


def _key_in(variable: str) -> str:
    """The key in an environment variable, without the blanks around it; empty if there is none."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the key in {variable} has a character that cannot be sent; allowed: printable ASCII")
    return key
