"""Transformer blocks (pre-norm, ViT) with masks for absent tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from einops import rearrange
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from modalities.shapes import Bool, Float, Int, Tensor

EPS = 1e-6  # of every LayerNorm, as in ViT, MAE and VideoMAE; the class's own default is 1e-5


def initialise(module: nn.Module) -> None:
    """The whole initialisation; applied to every module of a model once.

    Linear: Xavier uniform, zero bias (MAE, arXiv:2111.06377). Embedding: normal, 0.02. LayerNorm: one and zero.
    Single parameters (mask tokens, modality embeddings, fusion tokens) are drawn where they are made, normal 0.02.
    What is frozen was trained elsewhere and stays as it is.
    """
    if not all(parameter.requires_grad for parameter in module.parameters(recurse=False)):
        return
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def learned_token(width: int, count: int | None = None) -> nn.Parameter:
    """A vector that the model learns, such as a mask token, or `count` of them; exempt from weight decay."""
    token: Any = nn.Parameter(torch.empty(width) if count is None else torch.empty(count, width))
    nn.init.normal_(token, std=0.02)
    token.decay = False
    return token


def at_level(module: nn.Module, level: int) -> nn.Module:
    """Tag a module with its layer, counted from 1 above the tokenizers, for layer-wise learning rates."""
    module.__dict__["level"] = level
    return module


def attendable(
    valid: Bool[Tensor, "b k"] | None, group: Int[Tensor, "b k"] | None = None
) -> Bool[Tensor, "b 1 _ k"] | None:
    """Attention mask over keys. Who has no valid key at all attends to all, so that nothing becomes NaN.

    group: tokens attend only to those of their own number; None lets all attend to all.
    """
    if group is None:
        return None if valid is None else (valid | ~valid.any(1, keepdim=True))[:, None, None, :]
    keys = group[:, :, None] == group[:, None, :]
    if valid is not None:
        keys = keys & valid[:, None, :]
        keys = keys | ~keys.any(2, keepdim=True)
    return keys[:, None]


class Attention(nn.Module):
    """Multi-head self-attention with biases on queries and values only: one on keys would cancel in the softmax."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be shared by {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.project = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b k d"], mask: Bool[Tensor, "b 1 _ k"] | None) -> Float[Tensor, "b k d"]:
        q, k, v = self.split(x)
        return self.project(rearrange(scaled_dot_product_attention(q, k, v, attn_mask=mask), "b h n d -> b n (h d)"))

    def split(self, x: Float[Tensor, "b k d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head, (b, heads, k, width / heads) each."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        three = self.qkv(x)  # called as a module: hooks, adapters (LoRA) and quantisation hold
        three = three + bias.to(three.dtype)
        q, k, v = (rearrange(y, "b n (h d) -> b h n d", h=self.heads) for y in three.chunk(3, -1))
        return q, k, v

    @torch.no_grad()
    def received(self, x: Float[Tensor, "b k d"], valid: Bool[Tensor, "b k"] | None) -> Float[Tensor, "b k"]:
        """The attention that each token is paid, summed over the valid ones that pay it and averaged over heads."""
        q, k, _ = self.split(x)
        with torch.autocast(x.device.type, enabled=False):  # in half precision many would be paid the same
            weight = q.float() @ k.float().mT / k.shape[-1] ** 0.5
            mask = attendable(valid)
            weight = (weight if mask is None else weight.masked_fill(~mask, -torch.inf)).softmax(-1).mean(1)
        return weight.sum(1) if valid is None else (weight * valid[..., None]).sum(1)


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a context."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be shared by {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b m d"],
        context: Float[Tensor, "b k d"],
        mask: Bool[Tensor, "b 1 1 k"] | None,
    ) -> Float[Tensor, "b m d"]:
        projected = self.query(x), self.key(context), self.value(context)
        q, k, v = (rearrange(y, "b n (h d) -> b h n d", h=self.heads) for y in projected)
        return self.project(rearrange(scaled_dot_product_attention(q, k, v, attn_mask=mask), "b h n d -> b n (h d)"))


class MLP(nn.Sequential):
    def __init__(self, width: int, ratio: int = 4):
        super().__init__(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))


class Layer(nn.Module):
    """A layer of a trunk or a decoder: the unit of compilation, activation checkpointing and sharding."""


class Block(Layer):
    """Attention then MLP, each on a normalised copy and added back."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width)

    def forward(self, x: Float[Tensor, "b k d"], mask: Bool[Tensor, "b 1 _ k"] | None) -> Float[Tensor, "b k d"]:
        x = x + self.attention(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class CrossBlock(Layer):
    """Attention to a context, then MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.context_norm = nn.LayerNorm(width, eps=EPS)
        self.attention = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width)

    def forward(
        self,
        x: Float[Tensor, "b m d"],
        context: Float[Tensor, "b k d"],
        mask: Bool[Tensor, "b 1 1 k"] | None,
    ) -> Float[Tensor, "b m d"]:
        x = x + self.attention(self.norm1(x), self.context_norm(context), mask)
        return x + self.mlp(self.norm2(x))


class Stack(nn.Module):
    """Blocks and a final norm: the encoder of ViT.

    first: how many layers lie below, for layer-wise learning-rate decay (each block carries its `level`).
    """

    def __init__(self, width: int, depth: int, heads: int, *, first: int = 0, norm: bool = True):
        super().__init__()
        self.blocks = nn.ModuleList(at_level(Block(width, heads), first + i + 1) for i in range(depth))
        self.norm = at_level(nn.LayerNorm(width, eps=EPS) if norm else nn.Identity(), first + depth)

    def forward(
        self,
        x: Float[Tensor, "b k d"],
        valid: Bool[Tensor, "b k"] | None,
        group: Int[Tensor, "b k"] | None = None,
        states: list[Tensor] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """The tokens after all blocks and the final norm.

        states: gets what enters the first block and what leaves each one, before the final norm.
        """
        mask = attendable(valid, group)
        record(states, x)
        for block in self.blocks:
            x = block(x, mask)
            record(states, x)
        return self.norm(x)


State = TypeVar("State")


def record(states: list[State] | None, state: State) -> None:
    """Add a state to those that are kept, if any are."""
    if states is not None:
        states.append(state)


def by_layer(states: Mapping[str, Sequence[State]]) -> list[dict[str, State]]:
    """The states of every stream layer by layer, those of each layer by stream."""
    return [dict(zip(states, layer, strict=True)) for layer in zip(*states.values(), strict=True)]


def chosen(states: Sequence[State], layers: Sequence[int], depth: int) -> dict[int, State]:
    """The states after the layers of these numbers, counted from 1; 0 is what enters the first.

    Raises:
        ValueError: there is no layer of that number.
    """
    if unknown := [number for number in layers if not 0 <= number <= depth]:
        raise ValueError(f"layers count from 0 (what enters the first) to {depth}, got {unknown}")
    return {number: states[number] for number in layers}
