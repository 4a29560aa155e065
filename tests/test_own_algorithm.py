"""A credit, an advantage and a loss of the user's own, by `module:name`: they train, and what is wrong is one line."""

import re
import sys
from pathlib import Path

import pytest
import torch
from facts import make_call, make_episode, make_group
from torch_build import start, trained

from counterpoint.algorithms import ADVANTAGES, AGGREGATIONS, CORRECTIONS, CREDITS, KLS, LOSSES, OVERLONG
from counterpoint.algorithms.base import Algorithm
from counterpoint.algorithms.build import build_algorithm, build_loss
from counterpoint.algorithms.loss import Tokens
from counterpoint.algorithms.overlong import keep
from counterpoint.errors import ConfigError
from counterpoint.family import look_in
from counterpoint.presets.algorithms import ALGORITHMS
from counterpoint.recipe import config_from

EXAMPLES = '''
from typing import Annotated

import torch
from pydantic import Field

from counterpoint.algorithms.base import Credit
from counterpoint.episode import calls_of


def short(groups, *, price: Annotated[float, Field(ge=0)] = 0.1):
    """The episode's reward minus a price per token."""
    return [
        Credit(episode=episode, call=call, reward=episode.score.reward - price * len(call.completion_ids))
        for episode, call in calls_of(groups)
        if episode.score.reward is not None
    ]


def sign(credits, *, threshold: float = 0.5):
    """1 above the threshold, else -1."""
    return [credit.sample(1.0 if credit.reward > threshold else -1.0) for credit in credits]


def remembering(credits, *, baselines):
    made = [credit.sample(credit.reward - baselines.get("all", 0.0)) for credit in credits]
    baselines["all"] = 0.5
    return made


def squared(tokens, *, width: Annotated[float, Field(gt=0)] = 1.0):
    """REINFORCE with a penalty on the squared log-ratio."""
    ratio = tokens.logprobs_CT - tokens.old_CT
    return -tokens.advantages_C1 * tokens.logprobs_CT + width * ratio**2


def per_call(tokens):
    return tokens.logprobs_CT.sum(dim=1)


def a_number(tokens):
    return 1.0


def nothing(facts):
    return None


def names(facts):
    return ["a"]


def infinite_credit(groups):
    return [Credit(episode=episode, call=call, reward=float("nan")) for episode, call in calls_of(groups)]


def first_alone(credits):
    return [credit.sample(1.0) for credit in credits[:1]]


def infinite(credits):
    return [credit.sample(float("inf")) for credit in credits]
'''


@pytest.fixture(autouse=True)
def mine(tmp_path):
    (tmp_path / "my_parts.py").write_text(EXAMPLES)
    look_in(tmp_path)
    yield
    sys.modules.pop("my_parts", None)


def groups():
    return [make_group(make_episode(make_call()), make_episode(make_call("critic"), reward=0.0, rollout=1))]


def algorithm(**table):
    roles = ("generator", "critic")
    return build_algorithm(config_from({"algorithm": table}), roles, set(roles))


def tokens():
    old = torch.full((2, 3), -1.0)
    return Tokens(
        logprobs_CT=(old + 0.5).requires_grad_(),
        old_CT=old,
        sampled_CT=old,
        base_CT=None,
        mask_CT=torch.ones(2, 3),
        advantages_C1=torch.tensor([[1.0], [-1.0]]),
    )


def test_a_credit_of_ones_own_sets_the_rewards_and_has_options():
    found = algorithm(credit={"name": "my_parts:short", "price": 0.2}, advantage="role").samples(groups())
    assert [one.reward for one in found] == pytest.approx([1 - 0.6, 0 - 0.6])


def test_an_advantage_of_ones_own_sets_the_advantages():
    found = algorithm(advantage="my_parts:sign").samples(groups())
    assert [(one.advantage, one.signal, one.in_loss) for one in found] == [(1.0, True, True), (-1.0, True, True)]


def test_an_advantage_of_ones_own_may_remember_and_its_memory_is_saved(tmp_path):
    rule, again = algorithm(advantage="my_parts:remembering"), algorithm(advantage="my_parts:remembering")
    rule.samples(groups())
    rule.save(tmp_path)
    again.load(tmp_path)
    assert [one.advantage for one in again.samples(groups())] == [0.5, -0.5]
    with pytest.raises(ConfigError, match=r"would move the baselines of algorithm\.advantage = 'my_parts:remembering'"):
        algorithm(advantage="my_parts:remembering", resample=1)


@pytest.mark.parametrize(("key", "value"), [(0, 0.5), (("solver", 0), 0.5), ("solver", [0.5])])
def test_a_memory_that_a_checkpoint_would_not_give_back_is_refused(key, value):
    made = Algorithm(
        credit=lambda groups: [],
        advantage=lambda credits: [],
        trainable=(),
        overlong=keep(),
        keeps_without_signal=False,
        solo=None,
        baselines={key: value},
    )
    with pytest.raises(ConfigError, match=re.escape(f"baselines must be numbers by text; {key!r} is {value!r}")):
        made.samples([])


def test_a_loss_of_ones_own_has_a_value_per_token_and_a_gradient():
    given = tokens()
    loss = build_loss(config_from({"algorithm": {"loss": {"name": "my_parts:squared", "width": 2.0}}}))
    found = loss.per_token(given).loss_CT
    assert found.tolist() == [pytest.approx([0.5 + 0.5] * 3), pytest.approx([-0.5 + 0.5] * 3)]
    found.sum().backward()
    assert given.logprobs_CT.grad.tolist() == [pytest.approx([-1.0 + 2.0] * 3), pytest.approx([1.0 + 2.0] * 3)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"credit": "my_parts:nothing"},
            "algorithm.credit = 'my_parts:nothing' must return a list of Credit, not None",
        ),
        ({"credit": "my_parts:names"}, "'my_parts:names' must return a list of Credit; str is in it"),
        ({"credit": "my_parts:infinite_credit"}, "must give every call a finite number; generator/0/0 got nan"),
        ({"advantage": "my_parts:nothing"}, "algorithm.advantage = 'my_parts:nothing' must return a list of Sample"),
        ({"advantage": "my_parts:first_alone"}, "must return one sample per credit, in their order: 2 credits; it re"),
        ({"advantage": "my_parts:infinite"}, "must give every call a finite number; generator/0/0 got inf"),
    ],
)
def test_what_a_member_of_ones_own_returns_is_checked(table, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        algorithm(**table).samples(groups())


@pytest.mark.parametrize(
    ("name", "what"), [("per_call", "a tensor of shape (2,)"), ("a_number", "float"), ("nothing", "NoneType")]
)
def test_a_loss_that_is_not_one_value_per_token_is_refused(name, what):
    loss = build_loss(config_from({"algorithm": {"loss": f"my_parts:{name}"}}))
    with pytest.raises(ConfigError, match=re.escape(f"of shape (calls, tokens) = (2, 3), not {what}")):
        loss.per_token(tokens())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"credit": "my_parts:shrt"},
            r"credit 'my_parts:shrt': unknown name in my_parts 'shrt'; did you mean 'short'\?",
        ),
        ({"credit": {"name": "my_parts:short", "price": -1.0}}, r"algorithm\.credit\.price = -1\.0: .*greater than"),
        (
            {"credit": {"name": "my_parts:short", "prise": 1.0}},
            r"\[algorithm\.credit\] 'prise'; did you mean 'price'\?",
        ),
        ({"advantage": "no_such_module_here:x"}, r"module 'no_such_module_here' cannot be imported"),
    ],
)
def test_a_wrong_name_or_option_of_ones_own_is_one_line(table, message):
    with pytest.raises(ConfigError, match=message):
        algorithm(**table)


def test_a_run_trains_with_a_credit_an_advantage_and_a_loss_of_ones_own(tmp_path):
    parts = {
        "credit": {"name": "my_parts:short", "price": 0.01},
        "advantage": {"name": "my_parts:sign", "threshold": 0.0},
        "loss": "my_parts:squared",
    }
    run = trained(start(tmp_path / "run", {"algorithm": parts, "run": {"steps": 1}}))
    moved = [value for row in run.metric_rows() for key, value in row.items() if key.endswith("/trained")]
    assert set(moved) == {1.0}
    assert run.config.algorithm.credit.name == "my_parts:short"


def test_the_example_of_the_documentation_resolves_builds_and_is_what_is_tested_here(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "algorithms.md").read_text()
    (code,) = re.findall(r"```python\n(# my_parts\.py\n.*?)```", page, flags=re.DOTALL)
    for name in ("short", "sign", "squared"):
        assert code.split(f"def {name}(")[1].split("\n\n\n")[0] == EXAMPLES.split(f"def {name}(")[1].split("\n\n\n")[0]
    (tmp_path / "my_parts.py").write_text(code)
    config = config_from({"algorithm": "my_parts:mine"})
    found = build_algorithm(config, ("generator", "critic"), {"generator", "critic"}).samples(groups())
    assert [one.advantage for one in found] == [1.0, -1.0]
    assert build_loss(config).per_token(tokens()).loss_CT.shape == (2, 3)


def test_the_documentation_lists_every_named_algorithm_and_every_member():
    page = (Path(__file__).parents[1] / "docs" / "algorithms.md").read_text()
    assert [name for name in ALGORITHMS if f"| `{name}` | " not in page] == []
    families = (CREDITS, ADVANTAGES, LOSSES, AGGREGATIONS, CORRECTIONS, KLS, OVERLONG)
    assert [name for family in families for name in family if f"`{name}`" not in page] == []
