"""Matrix products of a linear layer on a CPU, by the faster of the two libraries that torch has for them.

torch multiplies float32 matrices with MKL. oneDNN, which it has for other data types, is an eighth to a quarter faster
at the sizes of small models on processors by AMD, and as fast elsewhere.

Shapes: N rows, I values in, O values out.
"""

import logging
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear

_LOG = logging.getLogger(__name__)
_NOTHING: tuple[str, list[float], str] = ("none", [], "")
"""oneDNN could compute an activation on the outputs of a product."""


def multiplied(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """The output (N, O) of a linear layer, x W^T + bias. Nothing is differentiated through it."""
    if x_NI.device.type == "cpu" and x_NI.dtype == torch.float32 and len(x_NI) and has_onednn():
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, *_NOTHING)
        return found
    return linear(x_NI, weight_OI, bias_O)


@cache
def has_onednn() -> bool:
    """True if this build of torch has oneDNN's product of float32 matrices, and it gives what MKL's gives.

    Otherwise that is logged, once for each process.
    """
    found = torch.backends.mkldnn.is_available() and _is_right()  # type: ignore[no-untyped-call]
    if not found:
        _LOG.info("products of merged adapters take longer: this build of torch has no product of oneDNN for them")
    return found


def _is_right() -> bool:
    x_NI, weight_OI = torch.linspace(-1, 1, 15).view(5, 3), torch.linspace(-2, 1, 12).view(3, 4).T
    try:
        found_NO = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, None, *_NOTHING)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found_NO, linear(x_NI, weight_OI), atol=1e-6)
