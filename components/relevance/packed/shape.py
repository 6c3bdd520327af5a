"""What attention needs to know of a trunk: its heads and what they see."""

from dataclasses import dataclass

# Query tokens per program of the GPU kernel. Pairs are short, so larger tiles would be half empty.
TILE = 32


@dataclass(frozen=True)
class AttentionShape:
    """Heads and what they see.

    Attributes:
        heads, kv_heads: number of heads of queries, and of keys and values; the first is a multiple of the second.
        width: width of a head.
        scale: factor of the attention scores.
        causal: a token sees those before it and itself, not those after it.
        window: a token sees this many tokens, itself the last; 0: all.
        eps: epsilon of the RMS norm of queries and keys.
    """

    heads: int
    kv_heads: int
    width: int
    scale: float
    causal: bool
    window: int = 0
    eps: float = 1e-6
