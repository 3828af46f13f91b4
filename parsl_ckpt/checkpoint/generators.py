"""Random number generators as plain values: numpy's and the standard library's.

Rule of this file: what goes on after a restart draws what it would have drawn; that takes in the
generators that would have been spawned.
"""

from __future__ import annotations

import functools
import random
import struct
from typing import Any

from .registry import provide

_BITS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
_STATE = struct.Struct("<625I")


def load(root: str) -> None:
    """Provide the codecs of a library, if it is there."""
    if root == "random":
        provide(random.Random, "random.Random", _encode_random, _decode_random, False)
    else:
        _load_numpy()


def _encode_random(generator: random.Random) -> Any:
    version, state, gauss = generator.getstate()
    if version != 3:
        raise ValueError(f"state of version {version}")
    return _STATE.pack(*state), gauss


def _decode_random(plain: Any) -> random.Random:
    generator = random.Random(0)
    generator.setstate((3, _STATE.unpack(plain[0]), plain[1]))
    return generator


@functools.lru_cache(1)
def _load_numpy() -> None:
    import numpy
    from numpy.random import Generator, RandomState, SeedSequence

    def encode_seed(seed: Any) -> Any:
        # Both are kept as they are when they are plain, so that what is spawned is the same.
        key = tuple(map(int, seed.spawn_key))
        return _plain_entropy(seed.entropy), key, seed.pool_size, seed.n_children_spawned

    def decode_seed(plain: Any) -> Any:
        entropy, key, size, spawned = plain
        return SeedSequence(entropy, spawn_key=key, pool_size=size, n_children_spawned=spawned)

    def encode_bits(bits: Any) -> Any:
        seed = getattr(bits, "seed_seq", None) or getattr(bits, "_seed_seq", None)
        return type(bits).__name__, bits.state, seed if type(seed) is SeedSequence else None

    def decode_bits(plain: Any) -> Any:
        name, state, seed = plain
        if name not in _BITS:
            raise ValueError(f"There is no bit generator {name!r}.")
        bits = getattr(numpy.random, name)(0 if seed is None else seed)
        bits.state = state
        return bits

    provide(SeedSequence, "numpy.SeedSequence", encode_seed, decode_seed, False)
    for name in _BITS:
        provide(getattr(numpy.random, name), f"numpy.{name}", encode_bits, decode_bits, False)
    provide(Generator, "numpy.Generator", lambda made: made.bit_generator, Generator, False)
    provide(RandomState, "numpy.RandomState", _encode_legacy, _decode_legacy, False)


def _plain_entropy(entropy: Any) -> Any:
    if entropy is None or type(entropy) is int:
        return entropy
    if hasattr(entropy, "tolist"):
        return entropy.tolist()
    return [int(part) for part in entropy] if not isinstance(entropy, int) else int(entropy)


def _encode_legacy(state: Any) -> Any:
    return state._bit_generator, state.get_state(legacy=False)


def _decode_legacy(plain: Any) -> Any:
    from numpy.random import RandomState

    bits, state = plain
    made = RandomState(bits)
    made.set_state(state)
    return made
