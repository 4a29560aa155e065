"""The calls of an episode: who is called, with which prompt, and the record of it."""

import inspect
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from counterpoint.chat import Chat, Sampled, without_middle
from counterpoint.ended import Ended
from counterpoint.episode import Call, CallKey, Message
from counterpoint.errors import PromptLengthError, TooManyCallsError, WorkflowError
from counterpoint.play._clock import Clock
from counterpoint.play._engine import Engine
from counterpoint.play.base import Limits, Stage, call_seed
from counterpoint.samplers.base import Completion, Request, Session
from counterpoint.workflows.base import Reply, assistant, check_text

_PARTS: Final = frozenset(("role", "content"))
_LONGEST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call without its claim, and the reply on which the workflow may make one."""

    call: Call
    reply: Reply


class Calls:
    """The calls of one episode so far, and the roles that make more of them."""

    def __init__(self, stage: Stage, engine: Engine, session: Session, clock: Clock, limits: Limits, seed: str) -> None:
        self._stage = stage
        self._engine = engine
        self._session = session
        self._clock = clock
        self._limits = limits
        self._seed = seed
        self._made: list[Coroutine[Any, Any, Reply]] = []
        self.too_many: TooManyCallsError | None = None
        """The error of the first call beyond the limit; then the episode has failed, whatever the workflow does."""
        self._taken: dict[CallKey, int] = {}
        """Calls that have a reply, or wait for one -> their places in the order in which they were started."""
        self._order = count()
        self._finished: list[Exchange] = []

    def roles(self) -> dict[str, "_Role"]:
        return {role: _Role(role, self) for role in self._stage.workflow.roles}

    def by_start(self) -> list[Exchange]:
        """The finished calls, in the order in which they were started."""
        return sorted(self._finished, key=lambda one: self._taken[one.call.key])

    def started(
        self, role: str, messages: str | Sequence[Message], slot: int | None, turn: int | None
    ) -> Coroutine[Any, Any, Reply]:
        """A call, to be awaited. It counts from here on, so that no workflow prepares a million of them.

        Raises TooManyCallsError for the first call beyond the limit. Another one ends the workflow.
        """
        if self.too_many is not None:
            raise Ended
        if len(self._made) >= self._limits.max_calls:
            most = f"{self._limits.max_calls_name} = {self._limits.max_calls}"
            self.too_many = TooManyCallsError(
                f"{role}: an episode may make at most {self._limits.max_calls} calls ({most})"
            )
            raise self.too_many
        made = self._make(role, messages, slot, turn)
        self._made.append(made)
        return made

    def close(self) -> None:
        """Calls that were never awaited are forgotten."""
        for made in self._made:
            if inspect.getcoroutinestate(made) == inspect.CORO_CREATED:
                made.close()

    async def _make(self, role: str, messages: str | Sequence[Message], slot: int | None, turn: int | None) -> Reply:
        key = self._take(role, slot, turn)
        try:
            return await self._reply(key, messages)
        except BaseException:
            del self._taken[key]  # a call without a reply is no part of a round: another may take its place
            raise

    async def _reply(self, key: CallKey, messages: str | Sequence[Message]) -> Reply:
        policy = self._stage.routing.policy_for(key.role, key.slot)
        chat = self._stage.chats.get(policy)
        asked = _as_messages(messages)
        prompt_ids, cut = ((), 0) if chat is None else self._prompt(key, chat, asked)
        request = Request(
            policy=policy,
            prompt_ids=prompt_ids,
            messages=tuple(asked),
            max_tokens=self._limits.max_tokens,
            temperature=self._limits.temperature,
            seed=call_seed(self._seed, *key),
        )
        with self._clock.paused():
            completion = await self._engine.sample(self._session, request)
        reasoning, text = _reasoning_and_text(completion, chat)
        reply = Reply(key, text, [*_copied(asked), assistant(text)], reasoning=reasoning)
        self._finished.append(Exchange(_call(key, request, cut, completion, reply), reply))
        return reply

    def _prompt(self, key: CallKey, chat: Chat, messages: Sequence[Message]) -> tuple[tuple[int, ...], int]:
        """The ids of the prompt, and the number of ids that are left out of its middle."""
        ids, most = chat.prompt(messages, self._replies(key, chat)), self._limits.max_prompt_tokens
        if len(ids) <= most:
            return ids, 0
        if self._limits.long_prompts == "refuse":
            raise PromptLengthError(
                f"{key.role}: a prompt of {len(ids)} tokens is longer than rollout.max_prompt_tokens = {most};"
                " rollout.long_prompts = 'cut' would leave out its middle"
            )
        return without_middle(ids, most), len(ids) - most

    def _take(self, role: str, slot: int | None, turn: int | None) -> CallKey:
        for name, given in (("slot", slot), ("turn", turn)):
            if given is not None and (not isinstance(given, int) or given < 0):
                raise WorkflowError(f"{role}: {name} must be a whole number from 0, not {given!r}")
        finished = [one.call.key.turn for one in self._finished if one.call.key.role == role]
        turn = turn if turn is not None else max(finished, default=-1) + 1
        parallel = {key.slot for key in self._taken if key.role == role and key.turn == turn}
        free = next(number for number in range(len(parallel) + 1) if number not in parallel)
        key = CallKey(role, free if slot is None else slot, turn)
        if key in self._taken:
            raise WorkflowError(f"{role}: slot {key.slot} of turn {key.turn} was already called in this episode")
        self._taken[key] = next(self._order)
        return key

    def _replies(self, key: CallKey, chat: Chat) -> list[Sampled]:
        """The replies of this episode with the same tokenizer, whatever the policy: the ids must not depend on sharing.

        Those of the calling role and slot come first: of two slots with the same text, each continues its own ids.
        """
        same = [one for one in self._finished if self._stage.chats.get(one.call.policy) is chat]
        same.sort(key=lambda one: one.call.key[:2] != key[:2])
        return [Sampled(one.reply.conversation, one.call.completion_ids) for one in same]


def _reasoning_and_text(completion: Completion, chat: Chat | None) -> tuple[str, str]:
    if completion.text is not None or chat is None:
        return completion.reasoning, completion.text or ""
    return chat.parted(chat.text(completion.ids))


def _call(key: CallKey, request: Request, cut: int, completion: Completion, reply: Reply) -> Call:
    return Call(
        key=key,
        policy=request.policy,
        version=completion.version,
        messages=request.messages,
        prompt_ids=request.prompt_ids,
        cut=cut,
        completion_ids=completion.ids,
        logprobs=completion.logprobs,
        counted_tokens=completion.tokens,
        reasoning=reply.reasoning,
        text=reply.text,
        finish=completion.finish,
        seed=request.seed,
        temperature=request.temperature,
    )


@dataclass(frozen=True, slots=True)
class _Role:
    """The handle by which a workflow calls a role."""

    name: str
    calls: Calls

    def __call__(
        self, messages: str | Sequence[Message], *, slot: int | None = None, turn: int | None = None
    ) -> Coroutine[Any, Any, Reply]:
        return self.calls.started(self.name, messages, slot, turn)


def _as_messages(messages: str | Sequence[Message]) -> list[Message]:
    if isinstance(messages, str):
        messages = [Message(role="user", content=messages)]
    _check_form(messages)
    if not messages or messages[-1]["role"] != "user":
        raise WorkflowError("a conversation that a role is asked to reply to must end with a user's message")
    for message in messages:
        check_text("a message", message["content"])
    return _copied(messages)


def _check_form(given: object) -> None:
    shown = f"a {type(given).__name__}"
    if isinstance(given, Sequence):
        if all(isinstance(one, Mapping) and {*one} >= _PARTS for one in given):
            return
        shown = f"{[*given]!r}"[:_LONGEST_SHOWN]
    raise WorkflowError(f"a prompt must be text or a list of messages, each with a role and a content, not {shown}")


def _copied(messages: Sequence[Message]) -> list[Message]:
    """Copies, so that a workflow that changes its own messages does not change the record."""
    return [Message(role=message["role"], content=message["content"]) for message in messages]
