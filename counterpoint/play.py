"""Play a workflow over tasks: role handles, concurrency, judging. One failed episode is data, not the end of a run."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from statistics import fmean

from counterpoint.chat import Chat, Spoken, without_middle
from counterpoint.clock import timed
from counterpoint.config import Config, LongPrompts
from counterpoint.episode import (
    Answer,
    Call,
    CallKey,
    Choice,
    Claim,
    Episode,
    ErrorKind,
    Group,
    Message,
    Proposal,
    Unreadable,
    Verdict,
)
from counterpoint.errors import EndpointError, PromptLengthError, WorkflowError
from counterpoint.policy import Routing
from counterpoint.samplers.base import Completion, Request, Sampler, Session
from counterpoint.task import RIGHT_FROM, Score, Task, not_judged
from counterpoint.workflows.base import Reply, Workflow, assistant, check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a call is sampled and how long things may take."""

    temperature: float
    max_tokens: int
    max_prompt_tokens: int
    long_prompts: LongPrompts = "refuse"
    timeout: float
    """Seconds for an episode, not counting those in which it waits for the sampler."""
    judge_timeout: float
    """Seconds for one verdict."""

    @classmethod
    def of(cls, config: Config, temperature: float) -> "Limits":
        """The limits that a recipe sets, at a temperature."""
        rollouts = config.rollout
        return cls(
            temperature=temperature,
            max_tokens=rollouts.max_tokens,
            max_prompt_tokens=rollouts.max_prompt_tokens,
            long_prompts=rollouts.long_prompts,
            timeout=rollouts.timeout,
            judge_timeout=rollouts.judge_timeout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything a workflow needs to be played: who speaks with which weights, and how."""

    workflow: Workflow
    routing: Routing
    sampler: Sampler
    chats: Mapping[str, Chat]
    """Policy -> how its base model writes conversations; an endpoint's policy has none."""


async def rollout(stage: Stage, tasks: Sequence[Task], limits: Limits, *, size: int, seed: str) -> list[Group]:
    """Every task played `size` times, all at once, and judged. Equal arguments and weights give equal groups.

    `seed` names this rollout; each call's seed is a function of it and the call's identity. An episode that fails has
    its error recorded; raises WorkflowError only if every episode failed, and not all of them for want of an endpoint.
    """
    plays = [(task, index) for task in tasks for index in range(size)]
    performances = await asyncio.gather(
        *(_play(stage, task, limits, f"{seed}/{task.problem.id}/{index}") for task, index in plays)
    )
    judges = {task.problem.id: _Judge(task, limits.judge_timeout) for task in tasks}
    with timed("judging"):
        played = await asyncio.gather(
            *(
                _judged(task, index, performance, judges[task.problem.id])
                for (task, index), performance in zip(plays, performances, strict=True)
            )
        )
    errors = [episode.error for episode in played if episode.error is not None]
    if len(errors) == len(played) and any(episode.error_kind != "endpoint" for episode in played):
        raise WorkflowError(
            f"all {len(played)} episodes of workflow {stage.workflow.name!r} failed; first: {errors[0]}"
        )
    return [
        Group(task=task.problem.id, episodes=tuple(played[index * size : (index + 1) * size]))
        for index, task in enumerate(tasks)
    ]


def call_seed(*parts: object) -> int:
    """A seed in [0, 2^63) that depends on every part."""
    name = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class _Performance:
    """What was said and answered, before anything is judged."""

    spoken: Sequence["_Said"]
    answer: str | None
    error: str | None = None
    error_kind: ErrorKind | None = None


async def _play(stage: Stage, task: Task, limits: Limits, seed: str) -> _Performance:
    clock = _Clock(limits.timeout)
    with stage.sampler.session() as session:
        cast = _Cast(stage, session, clock, limits, seed)
        try:
            async with clock.running():
                answer = await stage.workflow(task.problem, cast.roles())
                if answer is not None:
                    check_text("a workflow's answer", answer)
        except Exception as failure:  # whatever a workflow raises is a fact about its episode
            kind = "timeout" if clock.expired else _kind(failure)
            late = f"not finished after {limits.timeout:g} s of its own and {len(cast.spoken)} calls"
            error = f"{type(failure).__name__}: {late if clock.expired else failure}"
            return _Performance(cast.by_start(), None, error, kind)
        return _Performance(cast.by_start(), answer)


def _kind(failure: Exception) -> ErrorKind:
    match failure:
        case PromptLengthError():
            return "overflow"
        case EndpointError():
            return "endpoint"
        case _:
            return "workflow"


async def _judged(task: Task, index: int, performance: _Performance, judge: "_Judge") -> Episode:
    if performance.error is not None:
        score = not_judged(f"the workflow failed: {performance.error}")
    else:
        score = await judge.score(performance.answer)
    return Episode(
        task=task.problem.id,
        rollout=index,
        problem=task.problem.text,
        calls=await _judged_calls(performance.spoken, judge),
        answer=performance.answer,
        score=score,
        error=performance.error,
        error_kind=performance.error_kind,
    )


class _Clock:
    """Ends an episode after so many seconds of its own: while it waits for the sampler, the clock stands still.

    Otherwise one episode that hangs would, by keeping a wave of calls waiting, let the time of all others run out.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = 0.0
        self._waits = 0
        self._timeout: asyncio.Timeout | None = None

    @property
    def expired(self) -> bool:
        return self._timeout is not None and self._timeout.expired()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._since = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._left) as self._timeout:
            try:
                yield
            finally:
                self._waits = -1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands still for as long as at least one call of the episode waits."""
        if self._waits < 0:
            raise WorkflowError("a role was called after its episode had ended")
        self._waits += 1
        if self._waits == 1:
            self._left -= asyncio.get_running_loop().time() - self._since
            self._reschedule(None)
        try:
            yield
        finally:
            if self._waits > 0:
                self._waits -= 1
                if self._waits == 0:
                    self._since = asyncio.get_running_loop().time()
                    self._reschedule(self._since + self._left)

    def _reschedule(self, when: float | None) -> None:
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(when)


@dataclass(frozen=True, slots=True)
class _Said:
    """A call without its claim, and the reply on which the workflow may make one."""

    call: Call
    reply: Reply


class _Cast:
    """The roles of one episode, and what they have said so far."""

    def __init__(self, stage: Stage, session: Session, clock: _Clock, limits: Limits, seed: str) -> None:
        self._stage = stage
        self._session = session
        self._clock = clock
        self._limits = limits
        self._seed = seed
        self._taken: dict[CallKey, int] = {}
        self.spoken: list[_Said] = []

    def roles(self) -> dict[str, "_Role"]:
        return {role: _Role(role, self) for role in self._stage.workflow.roles}

    def by_start(self) -> list["_Said"]:
        """What was said, in the order in which the calls were started."""
        return sorted(self.spoken, key=lambda said: self._taken[said.call.key])

    async def speak(self, role: str, messages: str | Sequence[Message], slot: int | None, turn: int | None) -> Reply:
        key = self._take(role, slot, turn)
        policy = self._stage.routing.policy_for(role, key.slot)
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
            completion = await self._session.sample(request)
        reasoning, text = _said(completion, chat)
        reply = Reply(key, text, [*_copied(asked), assistant(text)], reasoning=reasoning)
        self.spoken.append(_Said(_call(key, request, cut, completion, reply), reply))
        return reply

    def _prompt(self, key: CallKey, chat: Chat, messages: Sequence[Message]) -> tuple[tuple[int, ...], int]:
        """The ids of the prompt, and how many of them are left out."""
        ids, most = chat.prompt(messages, self._conversations(key, chat)), self._limits.max_prompt_tokens
        if len(ids) <= most:
            return ids, 0
        if self._limits.long_prompts == "refuse":
            raise PromptLengthError(
                f"{key.role}: a prompt of {len(ids)} tokens is longer than rollout.max_prompt_tokens = {most};"
                " rollout.long_prompts = 'cut' would leave out its middle"
            )
        return without_middle(ids, most), len(ids) - most

    def _take(self, role: str, slot: int | None, turn: int | None) -> CallKey:
        finished = [said.call.key.turn for said in self.spoken if said.call.key.role == role]
        turn = turn if turn is not None else max(finished, default=-1) + 1
        beside = {key.slot for key in self._taken if key.role == role and key.turn == turn}
        free = next(number for number in range(len(beside) + 1) if number not in beside)
        key = CallKey(role, free if slot is None else slot, turn)
        if key in self._taken:
            raise WorkflowError(f"{role}: slot {key.slot} of turn {key.turn} has already spoken in this episode")
        self._taken[key] = len(self._taken)
        return key

    def _conversations(self, key: CallKey, chat: Chat) -> list[Spoken]:
        """What was said in this episode with this tokenizer, whatever the policy: under any sharing the same ids.

        One's own words come first: of two slots that said the same, each goes on from its own ids.
        """
        mine = [said for said in self.spoken if self._stage.chats.get(said.call.policy) is chat]
        mine.sort(key=lambda said: said.call.key[:2] != key[:2])
        return [Spoken(said.reply.conversation, said.call.completion_ids) for said in mine]


def _said(completion: Completion, chat: Chat | None) -> tuple[str, str]:
    """The reasoning and the text of a reply."""
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
    """The handle that a workflow gets for a role."""

    name: str
    cast: _Cast

    async def __call__(
        self, messages: str | Sequence[Message], *, slot: int | None = None, turn: int | None = None
    ) -> Reply:
        return await self.cast.speak(self.name, messages, slot, turn)


class _Judge:
    """Scores answers to one task, each distinct answer once; what cannot be judged in time is not judged."""

    def __init__(self, task: Task, timeout: float) -> None:
        self._task = task
        self._timeout = timeout
        self._scores: dict[str | None, asyncio.Task[Score]] = {}

    async def score(self, answer: str | None) -> Score:
        if answer not in self._scores:
            self._scores[answer] = asyncio.ensure_future(self._verify(answer))
        return await self._scores[answer]

    async def _verify(self, answer: str | None) -> Score:
        try:
            async with asyncio.timeout(None if self._task.bounded else self._timeout) as clock:
                score = await self._task.verify(answer)
        except Exception as error:  # a judge that raises has not judged, whatever it raised
            if clock.expired():
                return not_judged(f"the judge took longer than {self._timeout:g} s")
            return not_judged(f"the judge raised {type(error).__name__}: {error}")
        if not isinstance(score, Score):
            return not_judged(f"the judge gave a {type(score).__name__} instead of a Score")
        return score


async def _judged_calls(spoken: Sequence[_Said], judge: _Judge) -> tuple[Call, ...]:
    claims = {said.call.key: said.reply.claim for said in spoken}
    return tuple(
        [
            replace(said.call, claim=said.reply.claim, score=await _claim_score(said.reply.claim, claims, judge))
            for said in spoken
        ]
    )


async def _claim_score(claim: Claim | None, claims: Mapping[CallKey, Claim | None], judge: _Judge) -> float | None:
    """What a claim is worth: its answer's or choice's reward, whether its verdict is true, its followers' mean."""
    match claim:
        case None:
            return None
        case Unreadable():
            return 0.0
        case Answer(text=text):
            return (await judge.score(text)).reward
        case Choice(candidates=candidates, index=index):
            return (await judge.score(_answer(claims.get(candidates[index])))).reward
        case Proposal(followed_by=followers):
            rewards = [(await judge.score(_answer(claims.get(follower)))).reward for follower in followers]
            judged = [reward for reward in rewards if reward is not None]
            return fmean(judged) if judged else None
        case Verdict(about=about, correct=correct):
            truth = (await judge.score(_answer(claims.get(about)))).reward
            return None if truth is None else float((truth >= RIGHT_FROM) == correct)


def _answer(claim: Claim | None) -> str | None:
    return claim.text if isinstance(claim, Answer) else None


def _as_messages(messages: str | Sequence[Message]) -> list[Message]:
    if isinstance(messages, str):
        messages = [Message(role="user", content=messages)]
    if not messages or messages[-1]["role"] != "user":
        raise WorkflowError("a conversation must end with a user's message to be replied to")
    for message in messages:
        check_text("a message", message["content"])
    return _copied(messages)


def _copied(messages: Sequence[Message]) -> list[Message]:
    """So that nobody who changes theirs changes what was said."""
    return [Message(role=message["role"], content=message["content"]) for message in messages]
