"""Activation checkpointing, compilation and sharding of a model's layers, without changing what they compute."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fusion.blocks import Layer
from fusion.masking.masking import STAGES

GRAPHS = STAGES + 44  # of one model at most: stages of a ratio; which streams of a batch are ragged; training or not


def layers(model: nn.Module) -> list[Layer]:
    """The layers of trunks, decoders and maskings, none inside another."""
    return [module for module in model.modules() if isinstance(module, Layer)]


def recompute(model: nn.Module) -> None:
    """Keep for the way back only what enters each layer, and compute the rest anew there (arXiv:1604.06174).

    Nothing in a layer is random, so that no generator needs to be kept.
    """
    for layer in layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)


def compile_model(model: nn.Module, *, whole: bool) -> None:
    """Compile what a step runs, in place.

    whole: the model's forward as one graph, so that cutting, normalising and scoring are fused as well. Otherwise each
        layer: where several processes train, what one layer has to tell the others (gradients, or its share of the
        weights) travels while the next one computes, which a single graph would put off to its end.
    """
    if not whole:
        for layer in layers(model):
            layer.compile()
        return
    compiler: Any = torch._dynamo.config  # loads the compiler
    compiler.recompile_limit = max(compiler.recompile_limit, GRAPHS)
    model.forward = torch.compile(model.forward, dynamic=False)  # shapes are the recipe's: few, and each worth a graph


def spread(plugin: Any, model: nn.Module) -> None:
    """Tell Accelerate's plugin of FSDP, unless it has been told otherwise, to spread each layer by itself.

    One layer's weights are then whole at a time, and the next one's on their way.
    """
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

    if plugin.auto_wrap_policy is None:
        plugin.auto_wrap_policy = transformer_auto_wrap_policy
        plugin.transformer_cls_names_to_wrap = sorted({type(layer).__name__ for layer in layers(model)})
