"""Facts made by hand: calls, episodes, groups, tasks, and a tokenizer that writes a character a token."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from counterpoint.algorithms.base import Credit, Sample
from counterpoint.chat import Chat
from counterpoint.diagnostics.base import Step
from counterpoint.episode import Answer, Call, CallKey, Choice, Claim, Episode, Group, Message
from counterpoint.learners.base import Contributions
from counterpoint.play import Limits, Stage
from counterpoint.policy import Routing
from counterpoint.samplers.scripted import Scripted
from counterpoint.task import RIGHT, WRONG, Problem, Score, Task
from counterpoint.testing.characters import END, OTHER_END, CharacterTokenizer
from counterpoint.testing.characters import MERGED as MERGED
from counterpoint.workflows.base import Workflow


class CharTokenizer(CharacterTokenizer):
    """Remembers what its template was asked for, and can rewrite what was said before."""

    def __init__(self, *, drops_thoughts: bool = False) -> None:
        """With `drops_thoughts` the template leaves <think> blocks out of all replies but the last, as Qwen3's does."""
        self._drops_thoughts = drops_thoughts
        self.templates: list[dict[str, Any]] = []

    def apply_chat_template(self, conversation: list[Any], **options: Any) -> str:
        self.templates.append(options)
        return super().apply_chat_template([self._rewritten(message) for message in conversation], **options)

    def _rewritten(self, message: Message) -> Message:
        if not self._drops_thoughts or message["role"] != "assistant":
            return message
        return assistant(re.sub(r"<think>.*?</think>", "", message["content"], flags=re.DOTALL))


def make_chat(**options: Any) -> Chat:
    return Chat(tokenizer=CharTokenizer(**options), stop_ids=frozenset({END, OTHER_END}))


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(CharTokenizer().encode(text, add_special_tokens=False))


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def make_call(
    role: str = "generator",
    slot: int = 0,
    turn: int = 0,
    *,
    claim: Claim | None = None,
    score: float | None = None,
    **fields: Any,
) -> Call:
    known: dict[str, Any] = {
        "policy": role,
        "version": 0,
        "messages": (user("What is 1 + 1?"),),
        "prompt_ids": (11, 12, 13),
        "completion_ids": (14, 15, END),
        "logprobs": (-0.5, -0.25, -0.125),
        "text": "it is 2",
        "finish": "stop",
        "seed": 7,
        "temperature": 1.0,
    }
    return Call(key=CallKey(role, slot, turn), claim=claim, score=score, **{**known, **fields})


def make_episode(
    *calls: Call,
    reward: float | None = 1.0,
    task: str = "t",
    rollout: int = 0,
    answer: str | None = "2",
    error: str | None = None,
) -> Episode:
    return Episode(
        task=task,
        rollout=rollout,
        problem="What is 1 + 1?",
        calls=calls,
        answer=answer,
        score=Score(reward=None if error else reward),
        error=error,
    )


def make_group(*episodes: Episode) -> Group:
    return Group(task=episodes[0].task, episodes=episodes)


def make_credit(
    reward: float,
    role: str = "generator",
    slot: int = 0,
    turn: int = 0,
    *,
    task: str = "t",
    rollout: int = 0,
    prompt: Sequence[int] = (11, 12),
) -> Credit:
    call = make_call(role, slot, turn, prompt_ids=tuple(prompt))
    return Credit(episode=make_episode(call, task=task, rollout=rollout), call=call, reward=reward)


def make_credit_sample(reward: float, role: str = "generator", **fields: Any) -> Sample:
    """A sample of which the reward matters."""
    credit = make_credit(reward, role, **fields)
    return Sample(task=credit.task, rollout=credit.rollout, call=credit.call, reward=reward, advantage=0.0, signal=True)


def make_step(
    *,
    index: int = 1,
    groups: Sequence[Group] = (),
    samples: Sequence[Sample] = (),
    contributions: Contributions | None = None,
    base_logprobs: Callable[[Sequence[Call]], list[list[float]]] = lambda calls: [
        list(call.logprobs) for call in calls
    ],
    updates: Mapping[str, int] | None = None,
    norms: Mapping[str, float] | None = None,
) -> Step:
    """A step of which only what is given matters."""
    return Step(index, groups, samples, contributions or {}, base_logprobs, updates or {}, norms or {})


def vote(answers: Sequence[tuple[str, float]], chosen: int, *, rollout: int = 0, task: str = "t") -> Episode:
    """A voting episode: (answer, score) of each generator, and which of them the aggregator chose, from 0."""
    drafts = [
        make_call("generator", slot, claim=Answer(text), score=score) for slot, (text, score) in enumerate(answers)
    ]
    choice = make_call(
        "aggregator", claim=Choice(tuple(draft.key for draft in drafts), chosen), score=answers[chosen][1]
    )
    return make_episode(*drafts, choice, reward=answers[chosen][1], rollout=rollout, task=task)


def float32(*values: float) -> tuple[float, ...]:
    """The values as a sampler gives them: single precision."""
    return tuple(float(np.float32(value)) for value in values)


async def same_text(answer: str, key: str) -> Score:
    return RIGHT if answer == key else WRONG


def make_problem(text: str = "What is 1 + 1?", id: str = "t") -> Problem:
    return Problem(id=id, text=text, answer_format="Just write it.", extract=lambda reply: reply.strip() or None)


def make_task(text: str = "What is 1 + 1?", key: str = "2", id: str = "t", judge: Any = same_text) -> Task:
    return Task(problem=make_problem(text, id), key=key, judge=judge)


def make_limits(**fields: Any) -> Limits:
    known = {"temperature": 1.0, "max_tokens": 200, "max_prompt_tokens": 5000, "timeout": 5.0, "judge_timeout": 5.0}
    return Limits(**{**known, **fields})


def make_stage(
    workflow: Workflow, script: Callable[[str, str], str], policy_of: Mapping[str, str] | None = None
) -> tuple[Stage, Scripted]:
    """A stage on which a script speaks, a policy a role unless said otherwise; and the sampler, to see its requests."""
    chat = make_chat()
    sampler = Scripted(script, chat)
    routing = Routing(policy_of or {role: role for role in workflow.roles})
    chats = {policy.name: chat for policy in routing.policies}
    return Stage(workflow=workflow, routing=routing, sampler=sampler, chats=chats), sampler
