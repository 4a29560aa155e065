"""Sampling with log-probabilities, against transformers' `generate` and against vLLM: same model, prompts and lengths.

A step's worth of calls, each prompt asked for by a group, temperature 1, nothing cut off. Only sampling itself is
timed, warm; each side answers all calls at once. Ours speaks with an adapter, the peers with the bare base.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from benchmarks import _work
from benchmarks._models import SHAPES, model_of
from benchmarks._peers import Peer, PeerError
from benchmarks._plain import generate
from benchmarks._sides import Ours
from benchmarks._timing import in_turns, ratio, side
from benchmarks.base import Figure, Missing, Setting, Target
from counterpoint.models import micro_model
from counterpoint.samplers.base import Request

ROWS = _work.Size(tasks=64, group=8, prompt=64, completion=32)
PLAIN, SERVER = "transformers' generate / ours", "vLLM / ours"
PLAIN_TARGET, SERVER_TARGET = Target(">=", 3.0), Target(">=", 5.0)


def sampling(setting: Setting) -> Iterator[Figure | Missing]:
    size = size_of(setting)
    model = model_of(setting)
    requests = _work.requests(size, model.config.vocab_size)
    bare = copy.deepcopy(model)  # our learner puts its adapters into the one that it is given
    ours = Ours(model, setting, _work.single(_work.TINY, model.config.vocab_size))
    mine = side(partial(ours.sample, requests))
    plain = side(partial(generate, bare, requests))
    work = f"{size.tasks} prompts of about {size.prompt} tokens x {size.group}, {size.completion} tokens each"

    seconds = in_turns({"generate": plain, "ours": mine}, setting.repeats)
    yield ratio(PLAIN, seconds, over="generate", under="ours", target=PLAIN_TARGET, work=work)
    try:
        with _vllm(setting, requests) as vllm:
            seconds = in_turns({"vllm": vllm.measure, "ours": mine}, setting.repeats)
            facts = {"work": work, "peer": vllm.ready["version"]}
    except PeerError as error:
        yield Missing(name=SERVER, reason=str(error), target=SERVER_TARGET)
    else:
        yield ratio(SERVER, seconds, over="vllm", under="ours", target=SERVER_TARGET, **facts)


def size_of(setting: Setting) -> _work.Size:
    """How much is sampled: large models get large work."""
    full = _work.LARGE if setting.device != "cpu" else ROWS
    return setting.size(full, _work.TINY, replace(full, tasks=full.tasks // 4))


def _vllm(setting: Setting, requests: Sequence[Request]) -> Peer:
    if setting.model in SHAPES:
        raise PeerError(f"{setting.model} has random weights and no folder that vLLM could read")
    if setting.tiny or setting.quick:
        raise PeerError("it takes a minute to start, too long for a small run")
    work = {
        "model": str(micro_model(setting.model) or setting.model),
        "device": setting.device,
        "dtype": setting.dtype,
        "prompts": [request.prompt_ids for request in requests],
        "tokens": requests[0].max_tokens,
    }
    return Peer("vllm", "vllm_sampling.py", setting, work)
