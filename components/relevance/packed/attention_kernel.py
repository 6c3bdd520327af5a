"""The GPU kernel of `attention.packed_attention`, in Triton: a tile of tokens and a few heads at a time.

Pairs are short: a tile or two hold most of them whole, so queries and keys are normalised and turned while they are
loaded, and nothing but the output is written. Needs Triton, which PyTorch's CUDA builds bring.

Shape suffixes: those of `attention`, and Q tokens of a tile, K tokens of a block of keys, F half of a head's width.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from components.contracts.errors import BadInput
from components.relevance.packed.shape import TILE, AttentionShape

# Programs a multiprocessor is offered at a time, more than it has room for; narrow heads' programs are small.
_PROGRAMS, _NARROW_PROGRAMS = 8, 64
# Heads that are stacked at most.
_STACK = 4


@triton.jit
def _halves(
    pointer, at_Q, rows_Q, valid_Q, weight, rotary, eps, HALF: tl.constexpr, NORM: tl.constexpr, TURN: tl.constexpr
):  # fmt: skip
    """Both halves (Q, F), float32, of vectors that begin at `at_Q`: RMS-normalised, then turned by their positions."""
    column_F = tl.arange(0, HALF)
    mask = valid_Q[:, None]
    at = at_Q[:, None] + column_F[None, :]
    first = tl.load(pointer + at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(pointer + at + HALF, mask=mask, other=0.0).to(tl.float32)
    if NORM:
        square_Q = tl.sum(first * first, 1) + tl.sum(second * second, 1)
        shrink = tl.rsqrt(square_Q / (2 * HALF) + eps)[:, None]
        first = first * shrink * tl.load(weight + column_F)[None, :]
        second = second * shrink * tl.load(weight + HALF + column_F)[None, :]
    if TURN:
        angle = rows_Q[:, None] * (2 * HALF) + column_F[None, :]
        cosine = tl.load(rotary + angle, mask=mask, other=0.0)
        sine = tl.load(rotary + angle + HALF, mask=mask, other=0.0)
        first, second = first * cosine - second * sine, second * cosine + first * sine
    return first, second


@triton.jit
def _attend(
    qkv, out, tiles, tile_count, q_weight, k_weight, rotary, scale, eps,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr, STACK: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, NORM: tl.constexpr, TURN: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """STACK heads that share their keys stand on top of one another: their keys are prepared once."""
    width: tl.constexpr = 2 * HALF
    stride: tl.constexpr = (HEADS + 2 * KV_HEADS) * width
    stacks: tl.constexpr = HEADS // STACK
    stacked_Q = tl.arange(0, STACK * BLOCK)
    columns = tl.arange(0, width)
    # A few programs for all tiles, each taking every so many: unused tiles stand at the end and cost nothing.
    work = tl.program_id(0)
    tile = work // stacks
    length = tl.load(tiles + 5 * tile + 1, mask=tile < tile_count, other=0)
    while length > 0:
        start = tl.load(tiles + 5 * tile).to(tl.int64)
        offset = tl.load(tiles + 5 * tile + 2)
        # Where the prefix begins, seen from the first own token, and its length; rows count from the prefix's first.
        prefix_at = tl.load(tiles + 5 * tile + 3) - tl.load(tiles + 5 * tile)
        prefix = tl.load(tiles + 5 * tile + 4)
        rows = prefix + length
        head = (work % stacks) * STACK
        kv_head = head // (HEADS // KV_HEADS)
        pair = qkv + start * stride
        q_rows = prefix + offset + stacked_Q % BLOCK
        q_heads = head + stacked_Q // BLOCK
        q_valid = q_rows < rows
        q_at = (q_rows - prefix) * stride + q_heads * width
        q1, q2 = _halves(pair, q_at, q_rows, q_valid, q_weight, rotary, eps, HALF, NORM, TURN)
        q1 = (q1 * scale).to(qkv.dtype.element_ty)
        q2 = (q2 * scale).to(qkv.dtype.element_ty)

        best = tl.full([STACK * BLOCK], float("-inf"), tl.float32)
        total = tl.zeros([STACK * BLOCK], tl.float32)
        gathered = tl.zeros([STACK * BLOCK, width], tl.float32)
        begin = 0
        end = rows
        if CAUSAL:
            end = tl.minimum(rows, prefix + offset + BLOCK)
        if WINDOW > 0:
            begin = tl.maximum(0, prefix + offset - WINDOW + 1) // BLOCK * BLOCK
        for block in range(begin, end, BLOCK):
            k_rows = block + tl.arange(0, BLOCK)
            k_valid = k_rows < rows
            k_token = tl.where(k_rows < prefix, prefix_at + k_rows, k_rows - prefix)
            k_at = k_token * stride + (HEADS + kv_head) * width
            k1, k2 = _halves(pair, k_at, k_rows, k_valid, k_weight, rotary, eps, HALF, NORM, TURN)
            score = tl.dot(q1, tl.trans(k1.to(qkv.dtype.element_ty)), input_precision=EXACT)
            score = tl.dot(q2, tl.trans(k2.to(qkv.dtype.element_ty)), score, input_precision=EXACT)
            seen = k_valid[None, :]
            if CAUSAL:
                seen = seen & (k_rows[None, :] <= q_rows[:, None])
            if WINDOW > 0:
                seen = seen & (q_rows[:, None] - k_rows[None, :] < WINDOW)
            score = tl.where(seen, score, float("-inf"))
            higher = tl.maximum(best, tl.max(score, 1))
            # Rows past the pair's end, and blocks a window hides, see no key: keep them free of inf - inf.
            pivot = tl.where(higher == float("-inf"), 0.0, higher)
            shrink = tl.exp2(best - pivot)
            weight = tl.exp2(score - pivot[:, None])
            v_at = k_token[:, None] * stride + (HEADS + KV_HEADS + kv_head) * width + columns[None, :]
            value = tl.load(pair + v_at, mask=k_valid[:, None], other=0.0)
            gathered = tl.dot(weight.to(value.dtype), value, gathered * shrink[:, None], input_precision=EXACT)
            total = total * shrink + tl.sum(weight, 1)
            best = higher
        gathered = gathered / tl.where(total > 0, total, 1.0)[:, None]
        to = ((q_rows - prefix) * (HEADS * width) + q_heads * width)[:, None] + columns[None, :]
        tl.store(out + start * (HEADS * width) + to, gathered.to(out.dtype.element_ty), mask=q_valid[:, None])

        work += tl.num_programs(0)
        tile = work // stacks
        length = tl.load(tiles + 5 * tile + 1, mask=tile < tile_count, other=0)


def attend(
    qkv_TE: Tensor,
    tiles_P5: Tensor,
    q_weight_H: Tensor | None,
    k_weight_H: Tensor | None,
    rotary_LH: Tensor | None,
    shape: AttentionShape,
) -> Tensor:
    """What `attention.packed_attention` says; tokens outside every tile are left as they come from the allocator."""
    if shape.width not in (32, 64, 128, 256):
        raise BadInput(f"packed inference on a GPU knows heads of 32, 64, 128 or 256, not {shape.width}; use float32")
    out_TD = torch.empty(qkv_TE.shape[0], shape.heads * shape.width, dtype=qkv_TE.dtype, device=qkv_TE.device)
    group = shape.heads // shape.kv_heads
    exact = qkv_TE.dtype == torch.float32
    # Exact products are unrolled: with stacked heads the program would be too large for the assembler.
    stack = 1 if exact else next(heads for heads in (_STACK, 2, 1) if group % heads == 0)
    tiles = tiles_P5.shape[0]
    processors = torch.cuda.get_device_properties(qkv_TE.device).multi_processor_count if qkv_TE.is_cuda else 1
    programs = processors * (_PROGRAMS if shape.width > 64 else _NARROW_PROGRAMS)
    programs = min(tiles * (shape.heads // stack), programs)
    _attend[(programs,)](
        qkv_TE, out_TD, tiles_P5, tiles, q_weight_H, k_weight_H, rotary_LH, shape.scale * math.log2(math.e), shape.eps,
        HEADS=shape.heads, KV_HEADS=shape.kv_heads, HALF=shape.width // 2, BLOCK=TILE, STACK=stack,
        CAUSAL=shape.causal, WINDOW=shape.window, NORM=q_weight_H is not None, TURN=rotary_LH is not None,
        # float32 products as they are, not rounded to 19 bits; other types have no such choice.
        EXACT="ieee" if exact else "tf32",
        num_warps=8 if shape.width > 128 else 4 if shape.width > 64 else 2, num_stages=1,
    )  # fmt: skip
    return out_TD
