"""Language models on packs: the same weights and answers as the Hugging Face trunk they are made from, no padding.

Queries, keys and values are one product, and so are the two inputs of a gated feed-forward; norms, rotation and
attention of a pair are one kernel. Products are in bfloat16, or in 8-bit floats (e4m3, one scale per output channel
and one per token; our choice); norms and pooling compute in float32.

Shape suffixes: T tokens of a pack, P attention tiles, R pairs, N stretches and S their parts (packs.py), D the
trunk's width, F the feed-forward's, E queries, keys and values side by side, H a head's width, O outputs of a product,
L positions, V the vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.contracts.errors import BadInput
from components.relevance.model.expert import Expert, LastTokenPooling, SegmentPooling, first_position
from components.relevance.packed.attention import packed_attention
from components.relevance.packed.norm import RmsNorm, SumNorm
from components.relevance.packed.shape import AttentionShape

_FLOAT8_MAX = 448.0  # of e4m3


class Product(nn.Module):
    """A linear map of concatenated Hugging Face layers' weights, in the type asked for."""

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(_joined([layer.weight for layer in layers]).to(dtype))
        self.bias = _bias(layers, dtype)

    def forward(self, x_TD: Tensor) -> Tensor:
        """(T, outputs)."""
        return functional.linear(x_TD, self.weight, self.bias)


class Float8Product(nn.Module):
    """The same in 8-bit floats: every token and every output channel is scaled to the format's range."""

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        super().__init__()
        weight = _joined([layer.weight for layer in layers]).float()
        scale_O1 = _scale(weight)
        self.weight = nn.Buffer((weight / scale_O1).to(torch.float8_e4m3fn))
        self.scale_1O = nn.Buffer(scale_O1.t().contiguous())
        self.bias = _bias(layers, dtype)

    def forward(self, x_TD: Tensor) -> Tensor:
        """(T, outputs)."""
        x = x_TD.float()
        scale_T1 = _scale(x)
        eight_TD = (x / scale_T1).to(torch.float8_e4m3fn)
        y_TO: Tensor = torch._scaled_mm(
            eight_TD, self.weight.t(), scale_T1, self.scale_1O, out_dtype=x_TD.dtype, use_fast_accum=True
        )
        return y_TO if self.bias is None else y_TO + self.bias


class GeluProduct(Product):
    """The GELU of a linear map with a bias, in one kernel on a GPU, which does not round what lies between."""

    def forward(self, x_TD: Tensor) -> Tensor:
        """(T, outputs)."""
        y_TO: Tensor = torch.ops.archipelago.gelu_product(x_TD, self.weight, self.bias)
        return y_TO


@torch.library.custom_op("archipelago::gelu_product", mutates_args=())
def _gelu_product(x_TD: Tensor, weight_OD: Tensor, bias_O: Tensor) -> Tensor:
    if x_TD.is_cuda:
        # By its tanh form, which is within 5e-4 of it.
        y_TO: Tensor = torch._addmm_activation(bias_O, x_TD, weight_OD.t(), use_gelu=True)
        return y_TO
    return functional.gelu(functional.linear(x_TD, weight_OD, bias_O))


@_gelu_product.register_fake
def _(x_TD: Tensor, weight_OD: Tensor, _: Tensor) -> Tensor:
    return x_TD.new_empty(x_TD.shape[0], weight_OD.shape[0])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors))


def _bias(layers: Sequence[nn.Linear], dtype: torch.dtype) -> nn.Parameter | None:
    biases = [layer.bias for layer in layers if layer.bias is not None]
    return nn.Parameter(_joined(biases).to(dtype)) if biases else None


def _scale(x: Tensor) -> Tensor:
    return x.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _FLOAT8_MAX


class DecoderBlock(nn.Module):
    """One block of Qwen 2, Qwen 3 or Gemma 3.

    Args:
        layer: the trunk's.
        before: norm of what the layer before adds, which Gemma has.
        config, product, dtype: the trunk's, the kind of its products and their type.
    """

    def __init__(
        self, layer: Any, before: RmsNorm | None, config: Any, product: Callable[..., nn.Module], dtype: torch.dtype
    ) -> None:
        super().__init__()
        attention, ff = layer.self_attn, layer.mlp
        gemma, eps = _is_gemma(config), config.rms_norm_eps
        one_kernel = product is Product  # the compiler writes a norm's output as 8-bit floats at once
        between = _norm(layer.post_attention_layernorm, config) if gemma else None
        before_ff = layer.pre_feedforward_layernorm if gemma else layer.post_attention_layernorm
        self.before_attention = SumNorm(before, _norm(layer.input_layernorm, config), one_kernel)
        self.before_ff = SumNorm(between, _norm(before_ff, config), one_kernel)
        self.qkv = product([attention.q_proj, attention.k_proj, attention.v_proj], dtype)
        self.out = product([attention.o_proj], dtype)
        self.gate_up = product([ff.gate_proj, ff.up_proj], dtype)
        self.down = product([ff.down_proj], dtype)
        self.activation = ff.act_fn
        with_norm = hasattr(attention, "q_norm")
        self.q_gain_H = _norm(attention.q_norm, config).gain_D if with_norm else None
        self.k_gain_H = _norm(attention.k_norm, config).gain_D if with_norm else None
        self.shape = AttentionShape(
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            width=attention.head_dim,
            scale=float(attention.scaling),
            causal=True,
            window=getattr(attention, "sliding_window", None) or 0,
            eps=eps,
        )

    def forward(self, x_TD: Tensor, added_TD: Tensor, tiles_P5: Tensor, rotary_LH: Tensor) -> tuple[Tensor, Tensor]:
        """The residual stream and what is to be added to it, (T, D) twice.

        The sum is left to the next norm, which then reads and writes once what two kernels would.
        """
        x_TD, normed_TD = self.before_attention(x_TD, added_TD)
        qkv_TE = self.qkv(normed_TD)
        seen_TD = packed_attention(qkv_TE, tiles_P5, self.q_gain_H, self.k_gain_H, rotary_LH, self.shape)
        x_TD, normed_TD = self.before_ff(x_TD, self.out(seen_TD))
        gate_TF, up_TF = self.gate_up(normed_TD).chunk(2, dim=1)
        return x_TD, self.down(self.activation(gate_TF) * up_TF)


def _is_gemma(config: Any) -> bool:
    return bool(config.model_type == "gemma3_text")


def _norm(of: Any, config: Any) -> RmsNorm:
    """Gemma stores its gains less one."""
    return RmsNorm(of.weight.float() + 1 if _is_gemma(config) else of.weight, config.rms_norm_eps)


class PackedDecoder(nn.Module):
    """Qwen 2, Qwen 3, Gemma 3: token ids to hidden states, as the trunk's `last_hidden_state`."""

    def __init__(self, trunk: Any, product: Callable[..., nn.Module], dtype: torch.dtype, positions: int) -> None:
        super().__init__()
        config, gemma = trunk.config, _is_gemma(trunk.config)
        if gemma and config.use_bidirectional_attention:
            raise BadInput("packed inference does not know Gemma's bidirectional attention; use precision float32")
        embedding = trunk.embed_tokens
        self.embedding_VD = nn.Parameter(embedding.weight.to(dtype))
        # Rounded as the trunk does it, for the same answers.
        self.embedding_scale = float(torch.tensor(embedding.scalar_embed_scale).to(dtype)) if gemma else 1.0
        # The first block adds nothing: zeros, which any norm leaves zeros.
        added = [_norm(layer.post_feedforward_layernorm, config) if gemma else None for layer in trunk.layers]
        self.blocks = nn.ModuleList(
            DecoderBlock(layer, before, config, product, dtype)
            for layer, before in zip(trunk.layers, [added[-1], *added], strict=False)
        )
        self.norm = SumNorm(added[-1], _norm(trunk.norm, config), one_kernel=True)
        self.kinds = list(config.layer_types) if gemma else ["full_attention"] * len(self.blocks)
        positions_1L = torch.arange(positions, device=embedding.weight.device)[None]
        for kind in sorted(set(self.kinds)):
            extra = (kind,) if gemma else ()
            cosine, sine = trunk.rotary_emb(torch.zeros(1, device=positions_1L.device), positions_1L, *extra)
            half = cosine.shape[2] // 2
            table_LH = torch.cat([cosine[0, :, :half], sine[0, :, :half]], dim=1)
            self.register_buffer(f"rotary_{kind}", table_LH.float())

    def forward(self, ids_T: Tensor, positions_T: Tensor, tiles_P5: Tensor) -> Tensor:  # noqa: ARG002 - one signature
        """(T, D); positions are the tiles' concern."""
        x_TD = functional.embedding(ids_T, self.embedding_VD) * self.embedding_scale
        added_TD = torch.zeros_like(x_TD)
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            x_TD, added_TD = block(x_TD, added_TD, tiles_P5, getattr(self, f"rotary_{kind}"))
        hidden_TD: Tensor = self.norm(x_TD, added_TD)[1]
        return hidden_TD


class EncoderBlock(nn.Module):
    """One block of BERT or XLM-R: tokens see all of their pair, and norms come after what is added."""

    def __init__(self, layer: Any, config: Any, product: Callable[..., nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        own = layer.attention.self
        self.qkv = product([own.query, own.key, own.value], dtype)
        self.out = product([layer.attention.output.dense], dtype)
        up = [layer.intermediate.dense]
        if product is Product and config.hidden_act == "gelu":
            self.up: nn.Module = GeluProduct(up, dtype)
        else:
            self.up = nn.Sequential(product(up, dtype), layer.intermediate.intermediate_act_fn)
        self.down = product([layer.output.dense], dtype)
        self.after_attention = layer.attention.output.LayerNorm.float()
        self.after_ff = layer.output.LayerNorm.float()
        width = config.hidden_size // config.num_attention_heads
        heads = config.num_attention_heads
        self.shape = AttentionShape(heads, heads, width, width**-0.5, causal=False)

    def forward(self, x_TD: Tensor, tiles_P5: Tensor) -> Tensor:
        """(T, D)."""
        seen_TD = packed_attention(self.qkv(x_TD), tiles_P5, None, None, None, self.shape)
        x_TD = self.after_attention((x_TD + self.out(seen_TD)).float()).to(x_TD.dtype)
        added_TD = self.down(self.up(x_TD))
        normed_TD: Tensor = self.after_ff((x_TD + added_TD).float())
        return normed_TD.to(x_TD.dtype)


class EncoderEmbedding(nn.Module):
    """Embeddings of BERT or XLM-R (RoBERTa), of tokens and of their positions in their own pair."""

    def __init__(self, embeddings: Any, config: Any, dtype: torch.dtype, positions: int) -> None:
        super().__init__()
        self.embedding_VD = nn.Parameter(embeddings.word_embeddings.weight.to(dtype))
        first = first_position(config.model_type, config.pad_token_id)
        positions_LD = embeddings.position_embeddings.weight[first : first + positions]
        self.positions_LD = nn.Parameter((positions_LD + embeddings.token_type_embeddings.weight[0]).to(dtype))
        self.norm = embeddings.LayerNorm.float()

    def forward(self, ids_T: Tensor, positions_T: Tensor) -> Tensor:
        """(T, D)."""
        embedded_TD = functional.embedding(ids_T, self.embedding_VD).float() + self.positions_LD[positions_T].float()
        normed_TD: Tensor = self.norm(embedded_TD)
        return normed_TD.to(self.embedding_VD.dtype)


class PackedEncoder(nn.Module):
    """BERT, XLM-R (RoBERTa): token ids to hidden states, as the trunk's `last_hidden_state`."""

    def __init__(self, trunk: Any, product: Callable[..., nn.Module], dtype: torch.dtype, positions: int) -> None:
        super().__init__()
        config = trunk.config
        self.embedding = EncoderEmbedding(trunk.embeddings, config, dtype, positions)
        self.blocks = nn.ModuleList(EncoderBlock(layer, config, product, dtype) for layer in trunk.encoder.layer)

    def forward(self, ids_T: Tensor, positions_T: Tensor, tiles_P5: Tensor) -> Tensor:
        """(T, D)."""
        x_TD: Tensor = self.embedding(ids_T, positions_T)
        for block in self.blocks:
            x_TD = block(x_TD, tiles_P5)
        return x_TD


_PACKED: dict[str, type[PackedDecoder] | type[PackedEncoder]] = {
    "bert": PackedEncoder,
    "roberta": PackedEncoder,
    "xlm-roberta": PackedEncoder,
    "gemma3_text": PackedDecoder,
    "qwen2": PackedDecoder,
    "qwen3": PackedDecoder,
}


class PackedExpert(nn.Module):
    """An expert on packs: one pooled vector per pair.

    Args:
        expert: what it is made from; both give the same vectors, up to rounding. Its weights are copied or shared.
        positions: tokens of a pair at most.
        dtype: type of products and of what stands between them.
        float8: products in 8-bit floats; needs a GPU of compute capability 8.9 or more.

    Raises:
        BadInput: an architecture that packed inference does not know.
    """

    def __init__(
        self, expert: Expert, positions: int, dtype: torch.dtype = torch.bfloat16, float8: bool = False
    ) -> None:
        super().__init__()
        trunk: Any = expert.trunk
        kind = str(trunk.config.model_type)
        if kind not in _PACKED:
            known = ", ".join(sorted(_PACKED))
            raise BadInput(f"packed inference does not know {kind}, only {known}; use precision float32")
        product = Float8Product if float8 else Product
        self.trunk = _PACKED[kind](trunk, product, dtype, positions)
        # What follows a token does not change it: pairs may share a prefix.
        self.causal = _PACKED[kind] is PackedDecoder
        self.last = isinstance(expert.pooling, LastTokenPooling)
        self.segments = isinstance(expert.pooling, SegmentPooling)
        self.requires_grad_(False)

    def forward(
        self, ids_T: Tensor, positions_T: Tensor, tiles_P5: Tensor, parts_NS: Tensor, stretches_R2: Tensor
    ) -> Tensor:
        """float32 (R, pooled width) of a `packs.Pack`; pairs without tokens get some vector."""
        hidden_TD: Tensor = self.trunk(ids_T, positions_T, tiles_P5)
        if self.last:
            ends_N = parts_NS.sum(dim=1).cumsum(0)
            return hidden_TD[(ends_N[stretches_R2[:, 0]] - 1).clamp(min=0)].float()
        sum_ND: Tensor = torch.segment_reduce(hidden_TD.float(), "sum", lengths=parts_NS.flatten(), axis=0, unsafe=True)
        # A pair's tokens are its own and those of the prefix that it shares.
        sum_RSD = sum_ND.view(*parts_NS.shape, -1)[stretches_R2].sum(dim=1)
        mean_RSD = sum_RSD / parts_NS[stretches_R2].sum(dim=1).clamp(min=1)[:, :, None]
        if not self.segments:
            return mean_RSD[:, 0]
        query_RD, item_RD = mean_RSD.unbind(dim=1)
        return torch.cat([query_RD, item_RD, (query_RD - item_RD).abs()], dim=1)

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile one block of each kind for all: code and shapes are the same, and a whole trunk takes minutes."""
        compiled = (DecoderBlock, EncoderBlock, EncoderEmbedding)
        parts = [part for part in self.trunk.modules() if isinstance(part, compiled)]
        # A row of more than 1,024 is normed in two passes, unless the compiler may try both ways. What it found to be
        # the fastest cannot be read back from its cache of graphs.
        norms = [norm for norm in self.trunk.blocks.modules() if isinstance(norm, SumNorm)]
        wide = any(not norm.one_kernel and len(norm.after.gain_D) > 1024 for norm in norms)
        options = {"triton.multi_kernel": 1, "fx_graph_cache": False} if wide and backend == "inductor" else None
        # All experts of a process share the blocks' code, and each kind of block is compiled for itself.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        for part in parts:
            part.compile(backend=backend, dynamic=True, fullgraph=True, options=options)
