"""What a plan says about time: floors and estimates, against figures worked by hand."""

import pytest
import torch

from counterpoint.config import ModelConfig
from counterpoint.plan import expected
from counterpoint.plan.plan import Plan, plan
from counterpoint.plan.speed import Rates, Wave, learned_per_second, rates_of, sampled_per_second
from counterpoint.recipe import load_config

RATES = Rates(operations=1e12, bytes=1e11)


def wave(**changed):
    numbers = {"calls": 6, "rows": 4, "prompt": 10, "read": 30, "said": 20}
    return Wave(**{**numbers, "active": 10**9, "weights": 2 * 10**9, "cached": 10**5, **changed})


def test_a_wave_is_bound_by_operations_or_by_bytes():
    # Reading: 2 * 1e9 * 30 / 1e12 = 0.06 s. Two waves of 20 steps, each the longer of
    # operations 2 * 1e9 * 4 / 1e12 = 8 ms and bytes (2e9 + 4 * 20 * 1e5) / 1e11 = 20.08 ms.
    assert wave().seconds(RATES) == pytest.approx(0.06 + 40 * 0.02008)
    # With 400 rows 0.8 s of operations are longer than (2e9 + 8e8) / 1e11 = 28 ms.
    assert wave(calls=400, rows=400).seconds(RATES) == pytest.approx(0.06 + 20 * 0.8)


def test_tokens_per_second_are_those_of_all_roles_over_the_time_of_all():
    first, second = wave(), wave(calls=8, said=5, active=10**8, weights=2 * 10**8)
    seconds = first.seconds(RATES) + second.seconds(RATES)
    assert sampled_per_second([first, second], RATES) == pytest.approx((6 * 20 + 8 * 5) / seconds)
    assert learned_per_second(1e9, RATES) == pytest.approx(1e12 / 6e9)


def test_the_rates_of_this_machine_are_measured_and_those_of_a_gpu_that_is_not_here_are_not(monkeypatch):
    here = rates_of(ModelConfig(path="micro-small"), 2**20, 1)
    assert here is not None
    assert here.operations > 1e8
    assert here.bytes > 1e7
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert rates_of(ModelConfig(path="micro-small", device="cuda"), 2**20, 1) is None


def test_the_rates_of_a_device_without_room_are_unknown(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("counterpoint.plan.speed._product", full)
    assert rates_of(ModelConfig(path="micro-small"), 2**20, 1) is None


def lines(planned: Plan) -> list[str]:
    return [line for line in planned.lines() if line.startswith(("time", "speed"))]


@pytest.fixture
def measured(monkeypatch):
    """Rates as of a fast machine, whatever this one is; the arguments of each look at them."""
    asked = []
    monkeypatch.setattr(expected, "rates_of", lambda *arguments: asked.append(arguments) or RATES)
    return asked


def test_the_waves_of_a_plan_are_the_calls_of_a_step():
    planned = plan(load_config("voting_arithmetic", ["rollout.tasks_per_step=4", "rollout.group_size=8"]))
    generators, aggregator = planned.waves()
    asked = [call for call in planned.rehearsal.calls if call.key.role == "generator"]
    (last,) = [call for call in planned.rehearsal.calls if call.key.role == "aggregator"]
    assert (generators.calls, aggregator.calls) == (4 * 8 * len(asked), 4 * 8)
    assert generators.rows == generators.calls  # so few fit at once
    assert generators.read == 4 * len(asked[0].prompt_ids)  # all generators of a task share one prompt
    assert aggregator.read == 32 * len(last.prompt_ids)  # and no two aggregators do
    assert generators.said == aggregator.said == 48
    size = planned.sizes[last.policy]
    assert (aggregator.active, aggregator.weights) == (size.active, 4 * size.parameters)


def test_limits_of_a_sampler_make_more_waves():
    rows = [wave.rows for wave in plan(load_config("voting_arithmetic", ["sampler.max_rows=5"])).waves()]
    assert rows == [5, 5]


def test_each_of_two_samplers_has_half_of_the_tasks():
    ray = ["runtime.name=ray", "runtime.samplers=2", "rollout.tasks_per_step=7"]
    one, two = (plan(load_config("voting_arithmetic", some)).waves() for some in (ray[2:], ray))
    assert [4 * wave.calls for wave in one] == [7 * wave.calls for wave in two]


def test_time_and_speed_are_lines_of_the_plan(measured):
    planned = plan(load_config("voting_arithmetic"))
    time, speed = lines(planned)
    assert f"at least {planned.operations_per_step() / 1e12:.2f} s per step" in time
    assert "1,000 GFLOP/s measured here" in time
    most = 0.37 * sampled_per_second(planned.waves(), RATES)
    learned = 0.40 * 1e12 / (6 * next(iter(planned.sizes.values())).active)
    assert f"about {float(f'{most:.1e}'):,.0f} tokens of replies and {float(f'{learned:.1e}'):,.0f} learned" in speed
    assert "an estimate, 37% and 40% of what 1,000 GFLOP/s and 100 GB/s allow" in speed
    assert measured[0][1] == 4 * next(iter(planned.sizes.values())).parameters


def test_several_processes_share_the_work(measured):
    one = plan(load_config("voting_arithmetic"))
    many = plan(load_config("voting_arithmetic", ["runtime.name=ray", "runtime.samplers=2", "runtime.learners=2"]))
    time, speed = lines(many)
    assert f"at least {one.operations_per_step() / 4e12:.2f} s per step" in time
    assert "for each of 4" in time
    assert "from each sampler" in speed
    assert "by each rank" in speed


def test_an_engine_on_several_gpus_is_as_fast_as_they_are_together(measured, monkeypatch):
    monkeypatch.setattr("counterpoint.plan.plan.check_device", lambda model: None)
    monkeypatch.setattr("counterpoint.plan.check.check_sampler", lambda config, routing: None)
    words = ["sampler.name=vllm", "sampler.tensor_parallel=3", "model.device=cuda", "model.dtype=bfloat16"]
    planned = plan(load_config("voting_arithmetic", words))
    time, speed = lines(planned)
    assert f"at least {planned.operations_per_step() / 4e12:.2f} s per step" in time  # three, and that of the learner
    most = 0.26 * sampled_per_second(planned.waves(), Rates(operations=3e12, bytes=3e11))
    assert f"about {float(f'{most:.1e}'):,.0f} tokens of replies" in speed


def test_only_tokens_that_are_learned_from_decide_how_fast_learning_is(measured):
    frozen = [
        "policies.sharing=isolated",
        "policy.generator.model.path=micro-small",
        "policy.aggregator.trainable=false",
    ]
    planned = plan(load_config("voting_arithmetic", frozen))
    learned = 0.40 * 1e12 / (6 * planned.sizes["generator"].active)
    assert f"{float(f'{learned:.1e}'):,.0f} learned from" in lines(planned)[1]


def test_nothing_is_said_of_devices_that_are_not_here(measured):
    far = ["runtime.name=ray", "runtime.address=10.0.0.1:6379"]
    (time,) = lines(plan(load_config("voting_arithmetic", far)))
    assert time.endswith("GFLOP per step; the speed of its devices is not known here")
    assert not measured


def test_two_policies_of_different_precision_have_no_common_speed(measured):
    mixed = ["policies.sharing=isolated", "policy.generator.model.dtype=bfloat16"]
    (time,) = lines(plan(load_config("voting_arithmetic", mixed)))
    assert "is not known here" in time
    assert not measured
