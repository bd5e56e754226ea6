"""Finds operations for which the host waits for the device."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class NoSync(TorchDispatchMode):
    """Fails where an operation makes the host wait for the device or gives a shape that depends on values."""

    forbidden = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::unique", "aten::_unique2")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().partition(".")[0]
        assert name not in self.forbidden, f"{name} in a step"
        if name in ("aten::index", "aten::index_put", "aten::index_put_"):
            assert not [i for i in args[1] if i is not None and i.dtype == torch.bool], "boolean indexing in a step"
        return function(*args, **(kwargs or {}))
