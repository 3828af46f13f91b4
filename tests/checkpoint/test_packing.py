"""Small parts stand in their records, large ones in blobs, compressed where that pays."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint import zstd as zstd_module
from parsl_ckpt.checkpoint.codec import Encoded
from parsl_ckpt.checkpoint.packing import PACKED, gather, lay_out
from parsl_ckpt.checkpoint.zstd import MOST, codec_of, expand
from parsl_ckpt.errors import ConfigurationError, FormatError, UnreadableRecordError

from .conftest import Place, key_number

numpy: Any = pytest.importorskip("numpy")
TEXT = b"".join(b'{"number": %d, "text": "some words"}\n' % n for n in range(60_000))


def files(place: Place) -> list[Path]:
    return [path for path in Path(place.path()).rglob("*") if path.is_file()]


def test_small_arrays_cost_no_files_of_their_own(local: Place) -> None:
    with local.open() as store:
        for n in range(50):
            store.put(n, {"a": numpy.full(6000, n), "b": [numpy.ones(100), "text"]})
    assert len(files(local)) == 1
    reader = local.open(None, ("000",))
    for n in range(50):
        value = reader.get(n)
        assert (value["a"] == n).all() and value["a"].flags.writeable and value["b"][1] == "text"
        value["a"][:] = -1
        assert (reader.get(n)["a"] == n).all()


@given(st.lists(st.integers(1, 90_000), max_size=6), st.integers(0, 150_000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_the_sizes_the_parts_come_back(
    sizes: list[int], data: int, compressed: bool
) -> None:
    compressor = codec_of("zstd") if compressed and zstd_module._module() else None
    blobs: dict[bytes, bytes] = {}

    def write(buffer: Any) -> tuple[bytes, int]:
        name = len(blobs).to_bytes(32, "big")
        blobs[name] = bytes(buffer)
        return name, len(blobs[name])

    buffers = [os.urandom(size // 2) + bytes(size - size // 2) for size in sizes]
    encoded = Encoded(1, bytes(data), buffers)
    codec, value, named, parts = lay_out(encoded, compressor, write)
    result = fmt.Result(b"k" * 32, codec=codec, value=value, blobs=named, parts=parts)
    assert sum(len(inside) for _, inside in parts) <= PACKED
    payload = fmt.encode_record(result)
    again: Any = fmt.decode_record(fmt.RESULT, payload)
    found, inside, outside = gather(again, lambda digest, size: bytearray(blobs[digest]))
    assert (found, bytes(inside), [bytes(b) for b in outside]) == (1, bytes(data), buffers)


def test_a_hit_on_a_large_record_does_not_keep_its_value(local: Place) -> None:
    with local.open() as store:
        for n in range(40):
            store.append([store.stage(store.encode(os.urandom(100_000)), key=key_number(n))])
            assert store.find(key_number(n)).result.parts == ()  # type: ignore[union-attr]
    reader = local.open(None, ("000",))
    reader.find(key_number(0))
    gc.collect()
    tracemalloc.start()
    found: list[Any] = [reader.find(key_number(n)) for n in range(40)]
    assert tracemalloc.get_traced_memory()[0] < 400_000
    tracemalloc.stop()
    assert all(len(reader.value(one)) == 100_000 for one in found)


def test_a_large_record_that_has_gone_since_it_was_found_is_a_typed_error(local: Place) -> None:
    with local.open() as store:
        store.put("a", os.urandom(100_000))
    reader = local.open(None, ("000",))
    (key,) = [record.key for _, _, record in reader.records() if isinstance(record, fmt.Result)]
    found = reader.find(key)
    reader.catalog.opened.clear()
    next(Path(local.path()).glob("*.seg")).unlink()
    with pytest.raises(UnreadableRecordError):
        reader.value(found)  # type: ignore[arg-type]


def test_a_record_that_an_older_writer_made_is_read(place: Place) -> None:
    """As it was before parts could stand in records: every part a blob."""
    store = place.open()
    data, array = b"d" * 70_000, numpy.arange(10_000)
    blob = store._write_blob(data)
    encoded = store.encode([array])
    other = store._write_blob(encoded.buffers[0])
    for name, codec, value, blobs in (
        ("spilled", 1 | fmt.SPILLED, b"", (store._write_blob(b"b" + b"\x05\0\0\0hello"),)),
        ("array", encoded.codec, encoded.data, (other,)),
    ):
        from parsl_ckpt.checkpoint.store import address

        record = fmt.Result(address(name), codec=codec, value=value, blobs=blobs)
        fields = msgspec.structs.astuple(record)[:-1]
        payload = msgspec.msgpack.encode(fields)
        entry = store.stage_record(record)
        entry.payload, entry.record_id = payload, fmt.record_id_of(payload)
        store.append([entry])
    store.close()
    assert blob[1] == 70_000
    reader = place.open(None, ("000",))
    assert reader.get("spilled") == b"hello" and (reader.get("array")[0] == array).all()


@pytest.mark.parametrize("how", ["auto", "zstd"])
@pytest.mark.usefixtures("zstd")
def test_what_shrinks_is_compressed_and_comes_back(local: Place, how: Any) -> None:
    values = {
        "text": TEXT.decode(), "bytes": TEXT, "small": TEXT[:5000], "zeros": bytes(3_000_000),
        "list": list(range(1500)), "array": numpy.arange(20_000), "random": os.urandom(60_000),
        "pickled": [{"n": n} for n in range(4000)], "tiny": 7,
    }  # fmt: skip
    with local.open(compression=how) as store:
        for name, value in values.items():
            store.put(name, value)
    for source in (store, local.open(None, ("000",)), local.open(None, ("000",), pickle=False)):
        for name, value in values.items():
            if name == "pickled" and not source.pickle:
                continue
            got = source.get(name) if source is not store else value
            assert numpy.array_equal(got, value) if name == "array" else got == value
    assert sum(path.stat().st_size for path in files(local)) < 1_000_000
    array = local.open(None, ("000",)).get("array")
    array[0] = 5  # writable, as any


@pytest.mark.usefixtures("zstd")
def test_auto_leaves_what_does_not_shrink_and_what_is_mapped() -> None:
    auto, always = codec_of("auto"), codec_of("zstd")
    assert auto is not None and always is not None
    assert auto.shrunk(os.urandom(500_000)) is None and always.shrunk(os.urandom(500_000)) is None
    assert auto.shrunk(b"short") is None
    blobs: list[int] = []

    def write(buffer: Any) -> tuple[bytes, int]:
        blobs.append(memoryview(buffer).nbytes)
        return bytes(32), blobs[-1]

    array = Encoded(1, b"", [memoryview(numpy.arange(500_000)).cast("B")])
    assert lay_out(array, auto, write)[3] == () and blobs == [4_000_000]
    assert lay_out(array, always, write)[3][0][0] == 4_000_000


@pytest.mark.usefixtures("zstd")
@given(st.binary(min_size=0, max_size=300), st.integers(-1, 1 << 70))
@settings(max_examples=200, deadline=None)
def test_any_bytes_expand_or_are_a_typed_error(data: bytes, size: int) -> None:
    with contextlib.suppress(FormatError):
        assert len(expand(data, size)) == size


@pytest.mark.usefixtures("zstd")
def test_nothing_is_allocated_on_the_word_of_a_bomb() -> None:
    compressor = codec_of("zstd")
    assert compressor is not None
    bomb = compressor._compress(bytes(1 << 28))
    assert len(bomb) < 20_000
    tracemalloc.start()
    for claimed in (1 << 28, 1 << 20, 5000, 1 << 50):
        with pytest.raises(FormatError):
            expand(bomb, claimed)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    small = compressor.shrunk(bytes(1 << 24))
    assert small is not None and len(small) >= (1 << 24) // MOST
    assert expand(small, 1 << 24) == bytes(1 << 24)


def test_without_zstd_auto_means_none_and_zstd_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zstd_module, "_found", [None])
    assert codec_of("auto") is None and codec_of("none") is None
    with pytest.raises(ConfigurationError, match="pip install"):
        Store.open("run", backend=MemoryBackend(), compression="zstd")
    with pytest.raises(FormatError, match="pip install"):
        expand(b"x" * 100, 1000)
    with pytest.raises(ConfigurationError, match="compression"):
        Store.open("run", backend=MemoryBackend(), compression="gzip")  # type: ignore[arg-type]


@pytest.mark.usefixtures("zstd")
def test_a_compressed_value_is_a_miss_where_zstd_is_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.open(compression="zstd") as store:
        store.put("a", TEXT)
        store.put("b", 1)
    monkeypatch.setattr(zstd_module, "_found", [None])
    reader = place.open(None, ("000",))
    assert reader.get("a") is None and reader.get("b") == 1
    (problem,) = reader.problems
    assert "zstandard" in problem.text or "zstd" in problem.text


@dataclasses.dataclass
class Named:
    text: str
    array: Any


@pytest.mark.usefixtures("zstd")
def test_compressed_parts_keep_their_order(local: Place) -> None:
    parts = [os.urandom(200_000), bytes(200_000), numpy.zeros(9000), "y" * 9999]
    value = Named("x" * 50_000, parts)
    with local.open(compression="zstd") as store:
        store.put("v", value)
        got = store.get("v")
    assert got.text == value.text and got.array[0] == value.array[0]
    assert got.array[1] == bytes(200_000) and not got.array[2].any() and got.array[3] == "y" * 9999
