"""Sampling with an adapter beside the base in bfloat16, against weights into which it is merged (and partly lost).

python -m benchmarks.beside --device cuda --rows 64 256
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from unittest import mock

import torch

from benchmarks import _work
from benchmarks._models import SHAPES, random_model
from counterpoint.adapter import Adapter, tensor_names
from counterpoint.samplers import _weights
from counterpoint.samplers._engine import Engine

_ROUNDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b-shape")
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--tokens", type=int, default=128)
    given = parser.parse_args()
    model = random_model(SHAPES[given.shape], given.device, "bfloat16")
    adapter = _adapter(model)
    beside = Engine(model, frozenset())
    with _losing():
        merged = Engine(model, frozenset())
    engines = {"merged": merged, "beside": beside}
    for rows in given.rows:
        size = _work.Size(tasks=max(1, rows // 8), group=min(8, rows), prompt=128, completion=given.tokens)
        requests = _work.requests(size, model.config.vocab_size)
        best = dict.fromkeys(engines, float("inf"))
        for _ in range(1 + _ROUNDS):  # the first is for warming up
            for name, engine in engines.items():
                began = perf_counter()
                engine.load([adapter])
                engine.compute(requests)
                best[name] = min(best[name], perf_counter() - began)
        rates = {name: len(requests) * given.tokens / seconds for name, seconds in best.items()}
        print(f"{len(requests)} rows x {given.tokens} tokens, rank 64:", end=" ")
        print(", ".join(f"{name} {rate:,.0f} tokens/s" for name, rate in rates.items()), end=", ")
        print(f"beside takes {best['beside'] / best['merged']:.2f} times as long", flush=True)
    if given.device.startswith("cuda"):
        print(f"peak memory of both together {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def _adapter(model: torch.nn.Module) -> Adapter:
    """A random adapter of rank 64 on every linear layer but the head."""
    tensors = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and name != "lm_head":
            name_A, name_B = tensor_names(name)
            place = layer.weight.device
            tensors[name_A] = torch.randn(64, layer.in_features, device=place) / layer.in_features**0.5
            tensors[name_B] = 1e-3 * torch.randn(layer.out_features, 64, device=place)
    return Adapter(policy=_work.POLICY, version=1, scale=0.5, tensors=tensors)


@contextmanager
def _losing() -> Iterator[None]:
    """While it is open, adapters are merged into half precision too."""
    with mock.patch.object(_weights, "_has_half", return_value=False):
        yield


if __name__ == "__main__":
    main()
