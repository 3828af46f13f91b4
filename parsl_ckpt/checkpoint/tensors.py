"""Tensors of torch and arrays of jax, and their random generators, as plain values.

Rule of this file: what is on another device is copied to this process's memory, and put back where
the reader asks for it.  Bytes are kept, not numbers, so that every dtype is.  What a tensor has
beside its numbers (a graph, hooks, an uncommon layout) is refused, or is not part of the value.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from .registry import provide


def load(root: str) -> None:
    """Provide the codecs of a library.

    Raises:
        ImportError: it is not installed.
    """
    if root == "torch":
        _load_torch()
    else:
        _load_jax()


# --- torch ----------------------------------------------------------------------------------------


@functools.lru_cache(1)
def _load_torch() -> None:
    torch: Any = importlib.import_module("torch")

    def encode_tensor(tensor: Any) -> Any:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ValueError("its layout is not the common one")
        if tensor.grad_fn is not None:
            raise ValueError(
                "it is the result of a computation whose gradient is wanted; detach it"
            )
        here = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        name = str(here.dtype).rpartition(".")[2]
        raw = here.reshape(-1).view(torch.uint8).numpy() if here.numel() else b""
        return name, tuple(tensor.shape), bool(tensor.requires_grad), raw

    def decode_tensor(plain: Any, device: Any) -> Any:
        name, shape, wants_grad, raw = plain
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"This torch knows no dtype {name!r}.")
        if len(raw):
            tensor = torch.from_numpy(raw).view(dtype).reshape(shape)
        else:
            tensor = torch.empty(shape, dtype=dtype)
        if device is not None and str(device) != "cpu":
            tensor = tensor.to(device)
        return tensor.requires_grad_() if wants_grad else tensor

    def decode_parameter(plain: Any, device: Any) -> Any:
        tensor = decode_tensor((*plain[:2], False, plain[3]), device)
        return torch.nn.Parameter(tensor, requires_grad=plain[2])

    def decode_dtype(name: str) -> Any:
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"This torch knows no dtype {name!r}.")
        return dtype

    def decode_generator(plain: Any) -> Any:
        generator = torch.Generator(device=plain[0])
        generator.set_state(plain[1].cpu())
        return generator

    def encode_generator(generator: Any) -> Any:
        return str(generator.device), generator.get_state()

    provide(torch.Tensor, "torch.Tensor", encode_tensor, decode_tensor, True)
    provide(torch.nn.Parameter, "torch.Parameter", encode_tensor, decode_parameter, True)
    provide(torch.Generator, "torch.Generator", encode_generator, decode_generator, False)
    provide(torch.dtype, "torch.dtype", lambda d: str(d).rpartition(".")[2], decode_dtype, False)
    provide(torch.device, "torch.device", str, torch.device, False)
    provide(torch.Size, "torch.Size", tuple, torch.Size, False)


# --- jax ------------------------------------------------------------------------------------------


@functools.lru_cache(1)
def _load_jax() -> None:
    jax: Any = importlib.import_module("jax")
    numpy: Any = importlib.import_module("numpy")

    def encode_array(array: Any) -> Any:
        here = numpy.ascontiguousarray(array)
        raw = here.reshape(-1).view(numpy.uint8) if here.size else b""
        return str(here.dtype), tuple(array.shape), raw

    def decode_array(plain: Any) -> Any:
        name, shape, raw = plain
        dtype = jax.numpy.dtype(name)
        flat = raw.view(dtype) if len(raw) else numpy.empty(0, dtype)
        array = jax.numpy.array(flat.reshape(shape))
        if array.dtype != dtype:
            raise ValueError(f"jax makes {array.dtype} of {name}; enable x64 first.")
        return array

    def encode_key(key: Any) -> Any:
        kind = jax.random.key_impl(key)
        name = kind if isinstance(kind, str) else getattr(kind, "_impl", kind).name
        return name, jax.random.key_data(key)

    def decode_key(plain: Any) -> Any:
        return jax.random.wrap_key_data(plain[1], impl=plain[0])

    array = type(jax.numpy.zeros(()))
    provide(array, "jax.Array", encode_array, decode_array, False)
    key = getattr(jax.random, "key", None)
    if key is not None:
        provide(type(key(0)), "jax.key", encode_key, decode_key, False)
