"""The specification is true, and the smallest parts keep their promises."""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.index import Covered, as_they_are, memory_index, merge, renumbered
from parsl_ckpt.checkpoint.segment import parse_name, segment_name
from parsl_ckpt.errors import FormatError

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.rst"


def dump() -> bytes:
    lines = re.findall(r"^    [0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", DOCUMENT.read_text(), re.M)
    return bytes.fromhex(" ".join(lines))


def test_the_worked_example_decodes_by_the_words_of_the_page() -> None:
    data = dump()
    assert data[:8] == b"PCKPTSEG" and struct.unpack_from("<HHI", data, 8) == (1, 0, 0)
    identity = data[16:32]
    assert identity == bytes(range(16)) and data[32:40] == blake3(data[:32]).digest()[:8]
    frame = data[40:]
    assert frame[:4] == bytes.fromhex("c5504601")
    kind, flags, keys, reserved, length = struct.unpack_from("<BBBBQ", frame, 4)
    assert (kind, flags, keys, reserved, length) == (1, 0, 2, 0, len(frame) - 56)
    covered = identity + struct.pack("<Q", 40) + frame[:48]
    assert frame[48:56] == blake3(covered).digest()[:8]
    payload = frame[56:]
    assert frame[16:32] == blake3(payload).digest()[:16]
    fields = msgspec.msgpack.decode(payload)
    assert fields[:4] == [b"K" * 32, b"L" * 32, "double", b"C" * 32]
    assert fields[8] == 1 and fields[9] == b"i" + struct.pack("<q", 42)
    assert frame[32:48] == b"KKKKKKKKLLLLLLLL"


def test_the_worked_example_is_what_the_store_reads() -> None:
    backend = MemoryBackend()
    backend.make_directory("run")
    backend.create(f"run/{segment_name(0, bytes(range(16)))}").write(dump())
    store = Store.open(None, sources=["run"], backend=backend)
    for key in (b"K" * 32, b"L" * 32):
        found = store.find(key)
        assert found is not None and store.value(found) == 42 and found.result.app == "double"


def test_a_signed_frame_is_what_the_page_says() -> None:
    backend = MemoryBackend()
    store = Store.open("run", backend=backend, signing_key=b"s" * 32)
    store.append([store.entry("a", 1), store.entry("b", 2)])
    (name,) = backend.list("run")
    data = bytes(backend.files[f"run/{name}"].data)
    context = "parsl_ckpt signing of checkpoints 1"
    assert context in DOCUMENT.read_text()
    key = blake3(b"s" * 32, derive_key_context=context).digest()
    at, before = 40, bytes(16)
    while at < len(data):
        kind, flags, _, _, length = struct.unpack_from("<BBBBQ", data, at + 4)
        assert (kind, flags) == (1, 1)
        body = data[at + 56 : at + 56 + length]
        payload, named, tag = body[:-32], body[-32:-16], body[-16:]
        assert data[at + 16 : at + 32] == blake3(payload).digest()[:16] and named == before
        placed = data[16:32] + struct.pack("<Q", at) + data[at : at + 48]
        assert tag == blake3(placed + named + payload, key=key).digest()[:16]
        at, before = at + 56 + length, tag


def test_the_page_lists_every_kind() -> None:
    text = DOCUMENT.read_text()
    for number, name in fmt.KIND_NAMES.items():
        assert re.search(rf"^{number} +{name}\b", text, re.M), name


@given(st.binary(max_size=120), st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_any_payload_gives_a_record_or_a_typed_error(payload: bytes, kind: int) -> None:
    with contextlib.suppress(FormatError):
        fmt.decode_record(kind, payload)


@pytest.mark.parametrize("version", [0, fmt.GATHERED + 1])
def test_a_file_of_another_version_is_refused(version: int) -> None:
    header = fmt.file_header(fmt.SEGMENT_MAGIC, bytes(16), version=version)
    with pytest.raises(FormatError, match=f"The file is of format {version}; this library reads"):
        fmt.read_file_header(header, fmt.SEGMENT_MAGIC)


def test_later_fields_are_ignored_and_missing_ones_have_defaults() -> None:
    payload = msgspec.msgpack.encode([b"k" * 32])
    record: Any = fmt.decode_record(fmt.RESULT, payload)
    assert record == fmt.Result(b"k" * 32)
    fields = [*msgspec.structs.astuple(record), "later", {"more": 1}]
    assert fmt.decode_record(fmt.RESULT, msgspec.msgpack.encode(fields)) == record


def test_text_that_is_no_unicode_is_escaped_in_metadata() -> None:
    payload = fmt.encode_record(fmt.Run("e\udcff", {"argv": ["\ud800", ("x", 1)], "\udcfe": None}))
    assert fmt.encode_record(fmt.Run("big", {"n": [2**70, 1]})) == fmt.encode_record(
        fmt.Run("big", {"n": [str(2**70), 1]})
    )
    record: Any = fmt.decode_record(fmt.RUN, payload)
    assert record.event == "e\\udcff" and record.data["argv"][0] == "\\ud800"


@pytest.mark.parametrize("name", ["x.seg", "000001-zz.seg", "../000001-" + "ab" * 16 + ".seg"])
def test_other_names_are_no_segments(name: str) -> None:
    assert parse_name(name) is None


prefixes = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 7, 2**63, 2**64 - 1]))
locators = st.integers(0, 2**40 - 1)


@given(st.lists(st.tuples(prefixes, locators), max_size=700), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_an_index_finds_exactly_the_entries_of_a_prefix(
    entries: list[tuple[int, int]], repeats: int
) -> None:
    entries = entries + entries[: len(entries) // 3] * repeats  # runs that span pages
    index = memory_index(sorted(p << 64 | at for p, at in entries), [], ())
    for prefix in {p for p, _ in entries} | {5, 2**64 - 2}:
        assert sorted(index.lookup(prefix)) == sorted(at for p, at in entries if p == prefix)
    whole = [entry for some in index.slices(0, 1 << 64) for entry in as_they_are(*some)]
    assert whole == sorted(p << 64 | at for p, at in entries)


@given(st.lists(st.lists(st.tuples(prefixes, locators), max_size=300), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_merging_indexes_keeps_every_entry_under_its_new_number(
    parts: list[list[tuple[int, int]]],
) -> None:
    sources: Any = []
    expected = set()
    for number, part in enumerate(parts):
        covered = [Covered("a", b"", 0, 0, True, 0)]
        sources.append(
            (
                memory_index(sorted(p << 64 | at for p, at in part), covered, ()),
                renumbered([number]),
            )
        )
        expected |= {p << 64 | number << 40 | at for p, at in part}
    merged = [entry for run in merge(sources) for entry in run]
    assert merged == sorted(expected)
