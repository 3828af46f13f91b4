"""Torch, where it is installed: type, shape, values and kind of device count."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def differ() -> dict[str, Any]:
    if find_spec("torch") is None:
        return {}
    torch: Any = import_module("torch")

    t = torch.tensor
    return {
        "tensors: values": (lambda: t([1.0, 2.0]), lambda: t([1.0, 3.0])),
        "tensors: types": (lambda: t([1, 2]), lambda: t([1.0, 2.0])),
        "tensors: half beside bfloat": (
            lambda: torch.zeros(2, dtype=torch.float16),
            lambda: torch.zeros(2, dtype=torch.bfloat16),
        ),
        "tensors: shape": (lambda: torch.zeros(2, 3), lambda: torch.zeros(3, 2)),
        "tensors: beside lists": (lambda: t([1.0]), lambda: [1.0]),
        "tensors: zero-dimensional": (lambda: t(1.0), lambda: t([1.0])),
        "tensors: gradients": (lambda: t([1.0]), lambda: t([1.0], requires_grad=True)),
        "tensors: sparse beside dense": (lambda: torch.eye(2), lambda: torch.eye(2).to_sparse()),
        "tensors: parameters beside tensors": (
            lambda: t([1.0]),
            lambda: torch.nn.Parameter(t([1.0]), requires_grad=False),
        ),
        "tensors: dtypes": (lambda: torch.float32, lambda: torch.float64),
    }


def agree() -> dict[str, Any]:
    if find_spec("torch") is None:
        return {}
    torch: Any = import_module("torch")

    def grid() -> Any:
        return torch.arange(6.0).reshape(2, 3)

    return {
        "tensors: strides": (lambda: grid().t().contiguous(), lambda: grid().t()),
        "tensors: a slice": (lambda: torch.tensor([2.0, 3.0]), lambda: torch.arange(5.0)[2:4]),
        "tensors: broadcast": (lambda: torch.ones(2, 3), lambda: torch.ones(1).expand(2, 3)),
        "tensors: conjugated": (
            lambda: torch.tensor([1 - 2j]),
            lambda: torch.tensor([1 + 2j]).conj(),
        ),
        "tensors: sparse, put together": (
            lambda: torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (2,)),
            lambda: torch.sparse_coo_tensor([[0]], [3.0], (2,)),
        ),
        "tensors: copied": (grid, lambda: grid().clone()),
    }
