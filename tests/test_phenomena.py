"""Phenomena made of episodes and gradients, seen by the real diagnostics, named by the real signatures."""

import random
from types import MappingProxyType

import pytest
import torch
from facts import make_call, make_episode, make_group, make_step

from counterpoint.algorithms.advantage import grpo
from counterpoint.algorithms.base import in_loss
from counterpoint.algorithms.credit import outcome
from counterpoint.analysis.history import History
from counterpoint.analysis.signatures import diagnose
from counterpoint.diagnostics.build import build_diagnostics
from counterpoint.episode import Answer, Choice, Verdict
from counterpoint.learners.base import Contribution, Moved, Source
from counterpoint.learners.gradient import FlatGradient
from counterpoint.policy import Routing
from counterpoint.recipe import config_from
from counterpoint.training import policy_numbers

STEPS, TASKS, ROLLOUTS, SIZE = 40, 8, 6, 200
SHARED = Routing({"voter": "all", "judge": "all"})


def rises(step):
    """The chance of a right answer in a healthy run."""
    return 0.4 + 0.45 * step / STEPS


class Team:
    """Three voters and a judge that chooses among them; members of this class do something else wrong each."""

    claims = MappingProxyType({"voter": frozenset({"answer"}), "judge": frozenset({"choice"})})

    def __init__(self):
        self.source = random.Random(0)
        torch.manual_seed(0)

    def answers(self, step):
        """Which of the voters are right; wrong answers differ."""
        return [self.source.random() < rises(step) for _ in range(3)]

    def text(self, right):
        return "2" if right else str(self.source.randint(10, 99))

    def chosen(self, right, step):
        """The judge finds a right answer if there is one, most of the time, and more and more often."""
        hits = [place for place, good in enumerate(right) if good]
        return self.source.choice(hits) if hits and self.source.random() < rises(step) else self.source.randrange(3)

    def episode(self, step, task, rollout):
        right = self.answers(step)
        voters = [
            make_call("voter", slot, claim=Answer(self.text(good)), score=float(good), policy="all", **self.said(step))
            for slot, good in enumerate(right)
        ]
        index = self.chosen(right, step)
        choice = Choice(tuple(call.key for call in voters), index)
        judge = make_call("judge", claim=choice, score=float(right[index]), policy="all", **self.said(step))
        return make_episode(*voters, judge, reward=float(right[index]), task=f"t{task}", rollout=rollout)

    def said(self, step):
        """Tokens and log-probabilities of a call; entropy falls a little."""
        level = 0.5 - 0.2 * step / STEPS
        return {
            "completion_ids": (14, 15, 2),
            "logprobs": tuple(-level * self.source.uniform(0.5, 1.5) for _ in range(3)),
        }

    def gradient(self, role, step):
        """Noise, of about the same size for both."""
        return torch.randn(SIZE)

    def moved(self, step):
        return {"all": Moved(norm=1.0, learning_rate=1e-3, change=0.1)}

    def contributions(self, step):
        return {
            Source("all", role): Contribution(FlatGradient(self.gradient(role, step)), weight=weight, loss=0.0)
            for role, weight in (("voter", 0.75), ("judge", 0.25))
        }

    def history(self):
        """What a run of this team records."""
        diagnostics = build_diagnostics(config_from({}).diagnostics)
        rows = []
        for step in range(1, STEPS + 1):
            groups = [
                make_group(*(self.episode(step, task, rollout) for rollout in range(ROLLOUTS))) for task in range(TASKS)
            ]
            samples = grpo(outcome(groups))
            seen = make_step(index=step, groups=groups, samples=samples, contributions=self.contributions(step))
            numbers = diagnostics.look(seen) | policy_numbers(["all"], in_loss(samples), self.moved(step))
            rows.append({"step": step, **numbers})
        return History(metrics=rows, evaluations=[], routing=SHARED, claims=self.claims)


class TwentyTimesTheMass(Team):
    """The voters have it; the judge, whose gradient is drowned, forgets how to choose."""

    def gradient(self, role, step):
        return (20.0 if role == "voter" else 1.0) * torch.randn(SIZE)

    def chosen(self, right, step):
        wrong = [place for place, good in enumerate(right) if not good]
        return self.source.choice(wrong) if wrong and self.source.random() < step / STEPS else super().chosen(right, 1)

    def answers(self, step):
        return super().answers(STEPS // 2)


class VotersForcedToAgree(Team):
    """One answer in three mouths, and less and less often the right one."""

    def answers(self, step):
        return [self.source.random() < 0.9 - 0.6 * step / STEPS] * 3

    def text(self, right):
        return "2" if right else "3"


class ApprovesEverything(Team):
    """A judge that reviews one answer, and finds it right."""

    claims = MappingProxyType({"voter": frozenset({"answer"}), "judge": frozenset({"verdict"})})

    def episode(self, step, task, rollout):
        right = self.source.random() < rises(step)
        draft = make_call("voter", claim=Answer("2"), score=float(right), policy="all", **self.said(step))
        verdict = Verdict(draft.key, True)
        judge = make_call("judge", claim=verdict, score=float(right), policy="all", **self.said(step))
        again = self.source.random() < rises(step)  # the team's answer is written anew, so that nobody is idle
        last = make_call("voter", turn=1, claim=Answer("2"), score=float(again), policy="all", **self.said(step))
        return make_episode(draft, judge, last, reward=float(again), task=f"t{task}", rollout=rollout)


class NeverMoves(Team):
    def moved(self, step):
        return {}


class EverybodyIsWrong(Team):
    def answers(self, step):
        return [False] * 3


class TakesTheFirst(Team):
    def chosen(self, right, step):
        return 0


class SaysAlwaysTheSame(Team):
    """After a few steps, though it is not always right."""

    def said(self, step):
        return super().said(step) if step <= 5 else {"completion_ids": (14, 15, 2), "logprobs": (-1e-4,) * 3}


@pytest.mark.parametrize(
    ("team", "found"),
    [
        (Team, []),
        (TwentyTimesTheMass, [("capture", "all by voter")]),
        (VotersForcedToAgree, [("voter collapse", "voter")]),
        (ApprovesEverything, [("rubber stamp", "judge")]),
        (NeverMoves, [("silent no-op", "all")]),
        (EverybodyIsWrong, [("constant reward", "team"), ("no signal", "team")]),
        (TakesTheFirst, [("lazy role", "team")]),
        (SaysAlwaysTheSame, [("entropy collapse", "voter"), ("entropy collapse", "judge")]),
    ],
)
def test_what_a_team_does_is_what_is_named(team, found):
    assert [(finding.signature, finding.where) for finding in diagnose(team().history())] == found
