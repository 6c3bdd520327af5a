"""Attention inside the pairs of a pack: tokens of many pairs stand one after another, and none is padding.

Pairs may share a prefix that stands once (packs.py): a tile of their own tokens sees it as if it stood before them.

Shape suffixes: T tokens of a pack, E its queries, keys and values side by side, P tiles, H a head's width, L positions,
D all heads together.
"""

import torch
from torch import Tensor
from torch.nn import functional

from components.relevance.packed.shape import AttentionShape


def packed_attention(
    qkv_TE: Tensor,
    tiles_P5: Tensor,
    q_weight_H: Tensor | None,
    k_weight_H: Tensor | None,
    rotary_LH: Tensor | None,
    shape: AttentionShape,
) -> Tensor:
    """Attention of every token to its own pair's tokens, (T, heads * width) in the type of `qkv_TE`.

    Args:
        qkv_TE: queries of all heads, then keys, then values.
        tiles_P5: int32 (a stretch's first token in the pack, its tokens, the tile's first token in it; first token of
            its prefix in the pack, tokens of the prefix); a stretch of n tokens has tiles at 0, TILE, 2 TILE ... below
            n. A tile of length 0 is unused.
        q_weight_H, k_weight_H: float32 gains of the RMS norm of each query and key; None: no norm.
        rotary_LH: float32 cosines and sines (H / 2 each) per position in the pair; None: no rotation.
        shape: heads and what they see.

    The answer of tokens that no tile covers is not defined.
    """
    # Field by field: `astuple` copies them, and the compiler takes every copy for a reason to compile again.
    sizes = (shape.heads, shape.kv_heads, shape.width, shape.scale, shape.causal, shape.window, shape.eps)
    out_TD: Tensor = torch.ops.archipelago.packed_attention(qkv_TE, tiles_P5, q_weight_H, k_weight_H, rotary_LH, *sizes)
    return out_TD


@torch.library.custom_op("archipelago::packed_attention", mutates_args=())
def _packed_attention(
    qkv_TE: Tensor,
    tiles_P5: Tensor,
    q_weight_H: Tensor | None,
    k_weight_H: Tensor | None,
    rotary_LH: Tensor | None,
    heads: int,
    kv_heads: int,
    width: int,
    scale: float,
    causal: bool,
    window: int,
    eps: float,
) -> Tensor:
    shape = AttentionShape(heads, kv_heads, width, scale, causal, window, eps)
    if qkv_TE.is_cuda:
        from components.relevance.packed.attention_kernel import attend

        return attend(qkv_TE, tiles_P5, q_weight_H, k_weight_H, rotary_LH, shape)
    return reference_attention(qkv_TE, tiles_P5, q_weight_H, k_weight_H, rotary_LH, shape)


@_packed_attention.register_fake
def _(qkv_TE: Tensor, *sizes: object) -> Tensor:
    heads, width = sizes[4], sizes[6]
    assert isinstance(heads, int) and isinstance(width, int)
    return qkv_TE.new_empty(qkv_TE.shape[0], heads * width)


def reference_attention(
    qkv_TE: Tensor,
    tiles_P5: Tensor,
    q_weight_H: Tensor | None,
    k_weight_H: Tensor | None,
    rotary_LH: Tensor | None,
    shape: AttentionShape,
) -> Tensor:
    """`packed_attention`, pair by pair in plain PyTorch: what a CPU runs, and what the kernel is tested against."""
    out_TD = qkv_TE.new_zeros(qkv_TE.shape[0], shape.heads * shape.width)
    parts = [shape.heads, shape.kv_heads, shape.kv_heads]
    for start, length, offset, prefix_start, prefix in tiles_P5.tolist():
        if offset or not length:
            continue
        whole = torch.cat([qkv_TE[prefix_start : prefix_start + prefix], qkv_TE[start : start + length]])
        total = prefix + length
        q, k, v = torch.split(whole.view(total, -1, shape.width).transpose(0, 1), parts)
        q, k = (_turned(_normed(x, w, shape.eps), rotary_LH) for x, w in ((q, q_weight_H), (k, k_weight_H)))
        behind = torch.arange(total)[:, None] - torch.arange(total)[None, :]
        seen = torch.ones(total, total, dtype=torch.bool)
        if shape.causal:
            seen &= behind >= 0
        if shape.window:
            seen &= behind < shape.window
        attended = functional.scaled_dot_product_attention(
            q.to(v.dtype), k.to(v.dtype), v, attn_mask=seen.to(v.device), scale=shape.scale, enable_gqa=True
        )
        out_TD[start : start + length] = attended.transpose(0, 1)[prefix:].reshape(length, -1)
    return out_TD


def _normed(x: Tensor, weight_H: Tensor | None, eps: float) -> Tensor:
    return x if weight_H is None else functional.rms_norm(x.float(), (x.shape[-1],), weight_H, eps)


def _turned(x: Tensor, rotary_LH: Tensor | None) -> Tensor:
    if rotary_LH is None:
        return x
    cosine, sine = rotary_LH[: x.shape[-2]].chunk(2, dim=-1)
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
