"""Containers of the standard library that are more than the builtin ones, as plain values."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Any

from .registry import provide


def load(root: str) -> None:
    """Provide the codecs of ``collections``."""
    provide(OrderedDict, "collections.OrderedDict", _encode_dict, _decode_ordered, False)
    provide(Counter, "collections.Counter", _encode_dict, _decode_counter, False)
    provide(deque, "collections.deque", _encode_deque, _decode_deque, False)


# What torch calls a state dict is an OrderedDict with an attribute.


def _encode_dict(items: Any) -> Any:
    return dict(items), dict(vars(items))


def _decode_ordered(plain: Any) -> Any:
    items: OrderedDict[Any, Any] = OrderedDict(plain[0])
    vars(items).update(plain[1])
    return items


def _decode_counter(plain: Any) -> Any:
    items: Counter[Any] = Counter()
    dict.update(items, plain[0])  # as they are: Counter would add them up
    vars(items).update(plain[1])
    return items


def _encode_deque(items: deque[Any]) -> Any:
    return list(items), items.maxlen


def _decode_deque(plain: Any) -> Any:
    return deque(plain[0], plain[1])
