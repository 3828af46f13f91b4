"""Bytes that are not what they should be: a value or a typed error comes out, never a wrong value.

Cuts and flips of every file of two runs of mixed records, sampled in the ordinary suite: segments,
indexes, blobs, and the files that say who lives and who maintains.  What is damaged is read,
verified, repaired and compacted.  And the decoders fed with anything at all, within bounded memory.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import (
    MemoryBackend,
    Store,
    codec,
    exclusive,
    extents,
    heartbeat,
    maintain,
    source,
)
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.index import covered_by_itself
from parsl_ckpt.checkpoint.memory import _File
from parsl_ckpt.checkpoint.packing import PACKED
from parsl_ckpt.checkpoint.segment import segment_name
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.errors import FormatError, ParslCkptError, StoreBusyError

pytestmark = pytest.mark.once

ROOT = "runs"
COUNT = 200
BIG = 3  # of the values are blobs


def value(number: int) -> Any:
    kinds: list[Any] = [
        number, f"text {number}", [number, None, 1.5], {"n": (number, b"x" * 40)},
        {number, "s"}, b"\xc5PF\x01" * 9, ("t", {"deep": [number]}), 2**70 + number,
    ]  # fmt: skip
    return kinds[number % len(kinds)]


def big(number: int) -> bytes:
    return random.Random(number).randbytes(PACKED + 100)


def directory(run: int) -> str:
    return f"{ROOT}/{run:03d}/checkpoint"


def build() -> MemoryBackend:
    """Two runs: sealed segments under a merged index, and an open one; notes, aliases, failures."""
    backend = MemoryBackend()
    for run, numbers in enumerate((range(COUNT // 2), range(COUNT // 2, COUNT))):
        store = Store.open(directory(run), backend=backend, rotate_records=40)
        for number in numbers:
            store.put(number, value(number))
            if number % 5 == 0:
                found = store.find(address(number))
                assert found is not None
                store.append([
                    store.stage_alias(
                        key=bytes([number]) * 32, record_id=found.record_id, target=address(number)
                    ),
                    store.stage_note(found.record_id, "n", b"leaf"),
                    store.stage_run("event", {"n": number}),
                    store.stage_failure(app="f", tid=number, error="E", trace=b"t"),
                ])  # fmt: skip
        for number in range(BIG):
            store.put(("big", run, number), big(number))
        heart = heartbeat.Heartbeat(f"{ROOT}/{run:03d}", backend=backend, used=[directory(0)])
        heart._facts.update(boot="elsewhere", host="elsewhere", pid=4711)  # and long ago
        heart.end({"beat": 1.0} if run else {"beat": 1.0, "ended": 2.0})
        if run == 0:
            store.close()
    heart = heartbeat.Heartbeat(ROOT, backend=backend, name=exclusive.NAME)
    heart._facts.update(boot="elsewhere", host="elsewhere", pid=4711, token="t")
    heart.end({"beat": 1.0})
    return backend


def build_compacted() -> MemoryBackend:
    """The same records in one segment, most of them in extents; with a merged index beside it."""
    backend = build()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_SHORT", 1)
        backend.files.pop(f"{ROOT}/{exclusive.NAME}")
        maintain.compact(ROOT, backend=backend)
    (path,) = [path for path in backend.files if path.endswith(".seg")]
    cover = covered_by_itself(backend.open(path), len(backend.files[path].data))
    assert cover is not None and len(extents.decoded(cover.extents)) > 10
    return backend


BUILDERS = {"as written": build, "compacted": build_compacted}


def found_in(backend: MemoryBackend) -> set[Any]:
    """What is found; none of it is wrong, and opening is never prevented."""
    there = backend.directories
    sources = [directory(run) for run in range(2) if directory(run) in there]
    store = Store.open(None, sources=sources, named=False, backend=backend)
    found: set[Any] = set()
    for number in range(COUNT):
        got = store.get(number)
        assert got is None or (got == value(number) and type(got) is type(value(number)))
        aliased = store.find(bytes([number % 256]) * 32) if number % 5 == 0 else None
        if aliased is not None:
            with contextlib.suppress(ParslCkptError):
                assert store.value(aliased) == value(number)
                found.add(("alias", number))
        if got is not None:
            found.add(number)
    for run, number in itertools.product(range(2), range(BIG)):
        got = store.get(("big", run, number))
        assert got in (None, big(number))
        if got is not None:
            found.add(("big", run, number))
    return found


def copy(backend: MemoryBackend) -> MemoryBackend:
    other = MemoryBackend()
    other.directories = set(backend.directories)
    for name, file in backend.files.items():
        other.files[name] = _File()
        other.files[name].data = bytearray(file.data)
    return other


def damages(
    backend: MemoryBackend, cut: bool, stride: int, names: str = ""
) -> Iterator[tuple[str, int]]:
    """The backend with one damage after another, every so many bytes of each file."""
    for name, file in sorted(backend.files.items()):
        if names not in name:
            continue
        whole = bytes(file.data)
        start = random.Random(len(whole)).randrange(stride)
        for place in range(start, len(whole), stride):
            data = bytearray(whole)
            if cut:
                del data[place:]
            else:
                data[place] ^= 1 << (place % 8)
            file.data = data
            file.generation += 1
            yield name, place
        file.data = bytearray(whole)
        file.generation += 1


def damaged(builder: str, cut: bool, stride: int) -> None:
    backend = BUILDERS[builder]()
    everything = found_in(backend)
    assert len(everything) == COUNT + COUNT // 5 + 2 * BIG
    hits = 0
    for name, place in damages(backend, cut, stride):
        lost = everything - found_in(backend)
        if not cut:  # a record with its alias, or one blob, whose records are in both runs
            assert len({one[-1] if isinstance(one, tuple) else one for one in lost}) <= 1, name
        hits += bool(lost)
        assert name.endswith(".seg") or "/blobs/" in name or not lost, (name, place, lost)
    assert found_in(backend) == everything
    assert hits, "no damage hit a record: the sample is too small"


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("cut", [False, True], ids=["flip", "cut"])
def test_a_sample_of_damage_costs_what_it_hit(builder: str, cut: bool) -> None:
    damaged(builder, cut, 4001)


@pytest.mark.slow
@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("cut", [False, True], ids=["flip", "cut"])
def test_damage_costs_what_it_hit(builder: str, cut: bool) -> None:
    damaged(builder, cut, 251)


def looked_after(builder: str, cut: bool, stride: int) -> None:
    """Whatever was found before is found after repairing, and then after compacting."""
    backend = BUILDERS[builder]()
    for where in damages(backend, cut, stride):
        before = found_in(backend)
        mended = copy(backend)
        mended.files.pop(f"{ROOT}/{exclusive.NAME}", None)
        maintain.runs(ROOT, backend=mended)
        maintain.verify(ROOT, backend=mended)
        maintain.repair(ROOT, backend=mended)
        assert found_in(mended) == before, where
        assert maintain.verify(ROOT, backend=mended).good, where
        maintain.compact(ROOT, backend=mended)
        assert found_in(mended) == before, where


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("cut", [False, True], ids=["flip", "cut"])
def test_a_sample_of_damage_is_looked_after(builder: str, cut: bool) -> None:
    looked_after(builder, cut, 18_011)


@pytest.mark.slow
@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("cut", [False, True], ids=["flip", "cut"])
def test_damage_is_looked_after(builder: str, cut: bool) -> None:
    looked_after(builder, cut, 997)


@pytest.mark.parametrize("name", [heartbeat.NAME, exclusive.NAME])
@pytest.mark.parametrize("cut", [False, True], ids=["flip", "cut"])
def test_a_damaged_sign_of_life_costs_nothing(name: str, cut: bool) -> None:
    """A run whose end cannot be read is looked after or left alone; its records stay."""
    backend = build()
    everything = found_in(backend)
    done = 0
    for where in damages(backend, cut, 5, name):
        other = copy(backend)
        with contextlib.suppress(StoreBusyError):
            maintain.runs(ROOT, backend=other)
            maintain.compact(ROOT, backend=other)
            done += 1
        assert found_in(other) == everything, where
    assert done


# -- decoders -----------------------------------------------------------------------------------

ANY = st.one_of(st.binary(max_size=200), st.binary(max_size=8).map(lambda b: b * 30))
LIMIT = 20 << 20


def decoded(kind: int, data: bytes, buffers: list[bytes]) -> None:
    """It comes out or is refused, and takes no memory on the word of a length."""
    tracemalloc.start()
    try:
        codec.decode(kind, data, buffers, False)
    except ParslCkptError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < LIMIT


@given(ANY, st.lists(st.binary(max_size=40), max_size=2))
@example(b"l\xff\xff\xff\xff", [])
@example(b"s\xff\xff\xff\x7f", [])
@example(b"d\xff\xff\xff\xff" * 20, [])
@example(b"t\x01\x00\x00\x00" * 60, [])
@settings(max_examples=400, deadline=None)
def test_any_bytes_as_a_plain_value(data: bytes, buffers: list[bytes]) -> None:
    decoded(codec.PLAIN, data, buffers)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=12,
    ),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_a_plain_value_with_a_byte_changed(original: Any, data: st.DataObject) -> None:
    encoded = codec.encode(original, False)
    changed = bytearray(encoded.data)
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    decoded(encoded.codec, bytes(changed), [bytes(b) for b in encoded.buffers])


@given(st.integers(0, 255), ANY)
@settings(max_examples=200, deadline=None)
def test_any_codec_that_is_not_known_is_refused_without_pickle(kind: int, data: bytes) -> None:
    decoded(kind, data, [])


@given(st.integers(0, 255), ANY)
@settings(max_examples=300, deadline=None)
def test_any_payload_is_a_record_or_an_error(kind: int, payload: bytes) -> None:
    with contextlib.suppress(FormatError):
        fmt.decode_record(kind, payload)


@given(st.binary(max_size=600), st.integers(0, 90))
@settings(max_examples=150, deadline=None)
def test_any_bytes_as_a_segment(tail: bytes, keep: int) -> None:
    """After so much of a real one, anything at all."""
    source = MemoryBackend()
    Store.open("s", backend=source).put("a", 1)
    (name,) = [n for n in source.list("s") if n.endswith(".seg")]
    backend = MemoryBackend()
    backend.make_directory("run")
    identity = fmt.read_file_header(bytes(source.files[f"s/{name}"].data[:40]), fmt.SEGMENT_MAGIC)
    assert identity is not None
    file = backend.create(f"run/{segment_name(0, identity)}")
    file.write(bytes(source.files[f"s/{name}"].data[:keep]) + tail)
    store = Store.open(None, sources=["run"], backend=backend)
    assert store.get("a") in (None, 1) and len(list(store.records())) <= 1
