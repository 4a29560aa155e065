"""The passes of `Fused` as Triton kernels: each reads and writes its values once.

Nothing is chosen by timing, so that every process computes the same bits. Widths are constants of a kernel and numbers
of tokens are not, so that no length of a call makes another kernel.

Shapes: N tokens, E hidden values, F values of the MLP, H heads, D values per head; m rows of logits, V vocabulary.
"""

# Kernels are no Python functions: their types are those of Triton.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

import torch
import triton
import triton.language as tl
from torch import Tensor

_AT_ONCE = 4096
"""Values of an element-wise kernel, and logits of a row, that one program holds at once."""

_TALL, _WIDE = 8, 512
"""Rows and columns of a sum over rows that one program holds at once."""


class Triton:
    """Each pass is one kernel, with sums in float32."""

    name = "triton"

    def normed(self, x_NE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor:
        x_NE = x_NE.contiguous()
        normed_NE = torch.empty_like(x_NE)
        _over_rows(_norm, x_NE, x_NE, x_NE, weight_E, x_NE, normed_NE, epsilon, ADDED=False)
        return normed_NE

    def added_and_normed(self, x_NE: Tensor, y_NE: Tensor, weight_E: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        x_NE, y_NE = x_NE.contiguous(), y_NE.contiguous()
        sum_NE, normed_NE = torch.empty_like(x_NE), torch.empty_like(x_NE)
        _over_rows(_norm, x_NE, x_NE, y_NE, weight_E, sum_NE, normed_NE, epsilon, ADDED=True)
        return sum_NE, normed_NE

    def normed_back(
        self, slope_NE: Tensor, x_NE: Tensor, weight_E: Tensor, epsilon: float, beside_NE: Tensor | None
    ) -> Tensor:
        slope_NE, x_NE = slope_NE.contiguous(), x_NE.contiguous()
        more_NE = slope_NE if beside_NE is None else beside_NE.contiguous()
        found_NE = torch.empty_like(x_NE)
        _over_rows(_norm_back, x_NE, slope_NE, x_NE, weight_E, more_NE, found_NE, epsilon, BESIDE=beside_NE is not None)
        return found_NE

    def turned(self, x_NHD: Tensor, weight_D: Tensor | None, epsilon: float, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
        x_NHD = x_NHD.contiguous()
        found_NHD = torch.empty_like(x_NHD)
        _over_heads(_turn, x_NHD, weight_D, cos_ND, sin_ND, (x_NHD,), found_NHD, epsilon)
        return found_NHD

    def turned_back(
        self,
        slope_NHD: Tensor,
        x_NHD: Tensor | None,
        weight_D: Tensor | None,
        epsilon: float,
        cos_ND: Tensor,
        sin_ND: Tensor,
    ) -> Tensor:
        slope_NHD = slope_NHD.contiguous()
        given_NHD = slope_NHD if x_NHD is None else x_NHD.contiguous()
        found_NHD = torch.empty_like(slope_NHD)
        _over_heads(_turn_back, slope_NHD, weight_D, cos_ND, sin_ND, (slope_NHD, given_NHD), found_NHD, epsilon)
        return found_NHD

    def gated(self, gate_NF: Tensor, up_NF: Tensor) -> Tensor:
        gate_NF, up_NF = gate_NF.contiguous(), up_NF.contiguous()
        found_NF = torch.empty_like(gate_NF)
        _over_values(_gate, gate_NF, up_NF, found_NF)
        return found_NF

    def gated_back(self, slope_NF: Tensor, gate_NF: Tensor, up_NF: Tensor) -> tuple[Tensor, Tensor]:
        slope_NF, gate_NF, up_NF = slope_NF.contiguous(), gate_NF.contiguous(), up_NF.contiguous()
        of_gate_NF, of_up_NF = torch.empty_like(gate_NF), torch.empty_like(up_NF)
        _over_values(_gate_back, slope_NF, gate_NF, up_NF, of_gate_NF, of_up_NF)
        return of_gate_NF, of_up_NF

    def chosen(self, logits_mV: Tensor, targets_m: Tensor, temperatures_m: Tensor) -> tuple[Tensor, Tensor]:
        logits_mV = logits_mV.contiguous()
        found_m = torch.empty(len(logits_mV), dtype=torch.float32, device=logits_mV.device)
        if found_m.numel():
            vocabulary = logits_mV.shape[1]
            block = min(_AT_ONCE, triton.next_power_of_2(vocabulary))
            given = (logits_mV, targets_m.contiguous(), temperatures_m.contiguous(), found_m)
            with torch.cuda.device_of(logits_mV):
                _choose[(len(logits_mV),)](*given, VOCABULARY=vocabulary, BLOCK=block, num_warps=8)
        return found_m, logits_mV

    def taken(self, x_NX: Tensor, places_M: Tensor) -> Tensor:
        x_NX = x_NX.contiguous()
        rows, width = len(places_M), x_NX.shape[1]
        found_MX = x_NX.new_empty(rows, width)
        if rows:
            block = min(_AT_ONCE, triton.next_power_of_2(width))
            with torch.cuda.device_of(x_NX):
                _take[(rows, triton.cdiv(width, block))](
                    x_NX, places_M, found_MX, WIDTH=width, BLOCK=block, num_warps=_warps(block)
                )
        return found_MX

    def summed(self, slope_MX: Tensor, order_M: Tensor, ends_L: Tensor) -> Tensor:
        slope_MX = slope_MX.contiguous()
        rows, width = len(ends_L) - 1, slope_MX.shape[1]
        found_NX = slope_MX.new_empty(rows, width)
        if rows:
            block = min(_WIDE, triton.next_power_of_2(width))
            with torch.cuda.device_of(slope_MX):
                _sum_segments[(rows, triton.cdiv(width, block))](
                    slope_MX, order_M, ends_L, found_NX, WIDTH=width, ROWS=_TALL, BLOCK=block, num_warps=4
                )
        return found_NX


def _over_rows(kernel, like_NE, *given, **constants) -> None:
    """One program for each row of E values."""
    rows, columns = like_NE.shape
    if rows:
        block = triton.next_power_of_2(columns)
        with torch.cuda.device_of(like_NE):
            kernel[(rows,)](*given, COLUMNS=columns, BLOCK=block, num_warps=_warps(block), **constants)


def _over_heads(kernel, like_NHD, weight_D, cos_ND, sin_ND, given, found_NHD, epsilon) -> None:
    """One program for each token, which turns all of its heads."""
    tokens, heads, width = like_NHD.shape
    if tokens:
        heads_block, half_block = triton.next_power_of_2(heads), triton.next_power_of_2(width // 2)
        weight = cos_ND if weight_D is None else weight_D
        with torch.cuda.device_of(like_NHD):
            kernel[(tokens,)](
                *given,
                weight,
                cos_ND.contiguous(),
                sin_ND.contiguous(),
                found_NHD,
                epsilon,
                HEADS=heads,
                HALF=width // 2,
                HEADS_BLOCK=heads_block,
                HALF_BLOCK=half_block,
                NORMED=weight_D is not None,
                num_warps=_warps(2 * heads_block * half_block),
            )


def _over_values(kernel, *tensors) -> None:
    """One program for every `_AT_ONCE` values."""
    count = tensors[0].numel()
    if count:
        with torch.cuda.device_of(tensors[0]):
            kernel[(triton.cdiv(count, _AT_ONCE),)](*tensors, count, BLOCK=_AT_ONCE, num_warps=8)


def _warps(values: int) -> int:
    return min(16, max(1, values // 512))


@triton.jit
def _norm(x, y, weight, total, normed, epsilon, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, ADDED: tl.constexpr):
    at = tl.arange(0, BLOCK)
    inside = at < COLUMNS
    place = tl.program_id(0).to(tl.int64) * COLUMNS + at
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if ADDED:
        value += tl.load(y + place, mask=inside, other=0.0).to(tl.float32)
        # What is normed is the sum as it is stored, since the backward pass computes the root from that.
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + place, rounded, mask=inside)
        value = rounded.to(tl.float32)
    root = tl.rsqrt(tl.sum(value * value, 0) / COLUMNS + epsilon)
    scale = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + place, (value * root * scale).to(normed.dtype.element_ty), mask=inside)


@triton.jit
def _norm_back(
    slope, x, weight, beside, found, epsilon, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, BESIDE: tl.constexpr
):
    at = tl.arange(0, BLOCK)
    inside = at < COLUMNS
    place = tl.program_id(0).to(tl.int64) * COLUMNS + at
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    pull = tl.load(slope + place, mask=inside, other=0.0).to(tl.float32)
    pull *= tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    root = tl.rsqrt(tl.sum(value * value, 0) / COLUMNS + epsilon)
    even = value * root
    result = root * (pull - even * (tl.sum(pull * even, 0) / COLUMNS))
    if BESIDE:
        result += tl.load(beside + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(found + place, result.to(found.dtype.element_ty), mask=inside)


@triton.jit
def _turn(
    x,
    weight,
    cos,
    sin,
    found,
    epsilon,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
    HEADS_BLOCK: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
    NORMED: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS_BLOCK)[:, None]
    at = tl.arange(0, HALF_BLOCK)[None, :]
    inside = (head < HEADS) & (at < HALF)
    place = (token * HEADS + head) * (2 * HALF) + at
    angle = token * (2 * HALF) + at
    first = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x + place + HALF, mask=inside, other=0.0).to(tl.float32)
    if NORMED:
        square = tl.sum(first * first, 1) + tl.sum(second * second, 1)
        root = tl.rsqrt(square / (2 * HALF) + epsilon)[:, None]
        first = first * root * tl.load(weight + at, mask=at < HALF, other=0.0).to(tl.float32)
        second = second * root * tl.load(weight + at + HALF, mask=at < HALF, other=0.0).to(tl.float32)
    cos_1 = tl.load(cos + angle, mask=at < HALF, other=0.0).to(tl.float32)
    cos_2 = tl.load(cos + angle + HALF, mask=at < HALF, other=0.0).to(tl.float32)
    sin_1 = tl.load(sin + angle, mask=at < HALF, other=0.0).to(tl.float32)
    sin_2 = tl.load(sin + angle + HALF, mask=at < HALF, other=0.0).to(tl.float32)
    tl.store(found + place, (first * cos_1 - second * sin_1).to(found.dtype.element_ty), mask=inside)
    tl.store(found + place + HALF, (second * cos_2 + first * sin_2).to(found.dtype.element_ty), mask=inside)


@triton.jit
def _turn_back(
    slope,
    x,
    weight,
    cos,
    sin,
    found,
    epsilon,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
    HEADS_BLOCK: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
    NORMED: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS_BLOCK)[:, None]
    at = tl.arange(0, HALF_BLOCK)[None, :]
    inside = (head < HEADS) & (at < HALF)
    place = (token * HEADS + head) * (2 * HALF) + at
    angle = token * (2 * HALF) + at
    slope_1 = tl.load(slope + place, mask=inside, other=0.0).to(tl.float32)
    slope_2 = tl.load(slope + place + HALF, mask=inside, other=0.0).to(tl.float32)
    cos_1 = tl.load(cos + angle, mask=at < HALF, other=0.0).to(tl.float32)
    cos_2 = tl.load(cos + angle + HALF, mask=at < HALF, other=0.0).to(tl.float32)
    sin_1 = tl.load(sin + angle, mask=at < HALF, other=0.0).to(tl.float32)
    sin_2 = tl.load(sin + angle + HALF, mask=at < HALF, other=0.0).to(tl.float32)
    pull_1 = slope_1 * cos_1 + slope_2 * sin_2
    pull_2 = slope_2 * cos_2 - slope_1 * sin_1
    if NORMED:
        first = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(x + place + HALF, mask=inside, other=0.0).to(tl.float32)
        square = tl.sum(first * first, 1) + tl.sum(second * second, 1)
        root = tl.rsqrt(square / (2 * HALF) + epsilon)[:, None]
        first *= root
        second *= root
        pull_1 *= tl.load(weight + at, mask=at < HALF, other=0.0).to(tl.float32)
        pull_2 *= tl.load(weight + at + HALF, mask=at < HALF, other=0.0).to(tl.float32)
        mean = ((tl.sum(pull_1 * first, 1) + tl.sum(pull_2 * second, 1)) / (2 * HALF))[:, None]
        pull_1 = root * (pull_1 - first * mean)
        pull_2 = root * (pull_2 - second * mean)
    tl.store(found + place, pull_1.to(found.dtype.element_ty), mask=inside)
    tl.store(found + place + HALF, pull_2.to(found.dtype.element_ty), mask=inside)


@triton.jit
def _gate(gate, up, found, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    g = tl.load(gate + place, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(found + place, (g * tl.sigmoid(g) * u).to(found.dtype.element_ty), mask=inside)


@triton.jit
def _gate_back(slope, gate, up, of_gate, of_up, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    s = tl.load(slope + place, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(gate + place, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + place, mask=inside, other=0.0).to(tl.float32)
    opened = tl.sigmoid(g)
    tl.store(of_gate + place, (s * u * opened * (1 + g * (1 - opened))).to(of_gate.dtype.element_ty), mask=inside)
    tl.store(of_up + place, (s * g * opened).to(of_up.dtype.element_ty), mask=inside)


@triton.jit
def _choose(logits, targets, temperatures, found, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    base = logits + row * VOCABULARY
    temperature = tl.load(temperatures + row).to(tl.float32)
    target = tl.load(targets + row)
    chosen = tl.load(base + target).to(tl.float32) / temperature
    # Finite, because the difference of two infinities is not a number.
    most = tl.full([BLOCK], -3.0e38, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, VOCABULARY, BLOCK):
        at = start + tl.arange(0, BLOCK)
        value = tl.load(base + at, mask=at < VOCABULARY, other=-float("inf")).to(tl.float32) / temperature
        higher = tl.maximum(most, value)
        total = total * tl.exp(most - higher) + tl.exp(value - higher)
        most = higher
    highest = tl.max(most, 0)
    weight = tl.sum(total * tl.exp(most - highest), 0)
    tl.store(found + row, chosen - highest - tl.log(weight))
    for start in range(0, VOCABULARY, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < VOCABULARY
        value = tl.load(base + at, mask=inside, other=0.0).to(tl.float32) / temperature
        share = tl.exp(value - highest) / weight
        pull = (tl.where(at == target, 1.0, 0.0) - share) / temperature
        tl.store(base + at, pull.to(logits.dtype.element_ty), mask=inside)


@triton.jit
def _take(x, places, found, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(places + row).to(tl.int64)
    value = tl.load(x + place * WIDTH + column, mask=column < WIDTH)
    tl.store(found + row * WIDTH + column, value, mask=column < WIDTH)


@triton.jit
def _sum_segments(values, order, ends, found, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    segment = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(ends + segment)
    last = tl.load(ends + segment + 1)
    total = tl.zeros([BLOCK], tl.float32)
    start = first
    while start < last:
        at = start + tl.arange(0, ROWS)
        place = tl.load(order + at, mask=at < last, other=0).to(tl.int64)
        inside = (at < last)[:, None] & (column < WIDTH)[None, :]
        part = tl.load(values + place[:, None] * WIDTH + column[None, :], mask=inside, other=0.0)
        total += tl.sum(part.to(tl.float32), 0)
        start += ROWS
    tl.store(found + segment * WIDTH + column, total.to(found.dtype.element_ty), mask=column < WIDTH)
