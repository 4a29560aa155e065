"""Replies from a script: for tests, documentation, and trying a workflow without a model."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from counterpoint.adapter import Adapter
from counterpoint.chat import Chat
from counterpoint.samplers.base import Completion, Request, Session

Script = Callable[[str, str], str]
"""(policy, prompt as text) -> reply."""


class Scripted:
    """Answers every request with the script's reply, with log-probability 0 for each token."""

    def __init__(self, script: Script, chat: Chat) -> None:
        self._script = script
        self._chat = chat
        self._adapters: dict[str, int] = {}
        self.requests: list[Request] = []
        """Every request so far, in order."""

    @contextmanager
    def session(self) -> Iterator[Session]:
        yield self

    async def sample(self, request: Request) -> Completion:
        self.requests.append(request)
        await asyncio.sleep(0)  # as with any sampler, calls made side by side have all started before one is answered
        text = self._script(request.policy, self._chat.text(request.prompt_ids))
        ids = self._chat.tokenizer.encode(text, add_special_tokens=False)
        stopped = len(ids) < request.max_tokens
        kept = [*ids, min(self._chat.stop_ids)] if stopped else ids[: request.max_tokens]
        return Completion(
            ids=tuple(kept),
            logprobs=(0.0,) * len(kept),
            finish="stop" if stopped else "length",
            version=self._adapters.get(request.policy, 0),
        )

    async def load(self, adapters: Sequence[Adapter]) -> None:
        self._adapters |= {adapter.policy: adapter.version for adapter in adapters}

    def digests(self) -> dict[str, str]:
        return {}
