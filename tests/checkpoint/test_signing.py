"""With a key, what was not signed with it is never decoded, and what was taken out is missed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.index import PAGE_SIZE, Covered, write_index
from parsl_ckpt.checkpoint.segment import Entry, segment_name
from parsl_ckpt.checkpoint.signing import chain
from parsl_ckpt.errors import KeyFileError
from parsl_ckpt.identity.keys import VARIABLE, signing_secret, user_secret

from .conftest import Place

KEY = b"k" * 32
PATH = "run/checkpoint"


@pytest.fixture(autouse=True)
def without_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def signed(backend: MemoryBackend, count: int = 6, *, close: bool = False, **options: Any) -> str:
    """A signed segment with results 0, 1, ...; its path."""
    store = Store.open(PATH, backend=backend, signing_key=KEY, **options)
    for n in range(count):
        store.put(n, n)
    if close:
        store.close()
    return next(f"{PATH}/{n}" for n in sorted(backend.list(PATH)) if n.endswith(".seg"))


def reader(backend: MemoryBackend, key: bytes | None = KEY) -> Store:
    return Store.open(None, sources=[PATH], backend=backend, signing_key=key)


def frames(backend: MemoryBackend, path: str) -> list[tuple[int, int]]:
    segment = reader(backend).catalog.segments[path.rpartition("/")[2]]
    return [(frame.offset, frame.end) for frame in segment.walk()]


def found(store: Store, count: int = 6) -> set[int]:
    assert all(store.get(n) in (None, n) for n in range(count))
    return {n for n in range(count) if store.get(n) == n}


@pytest.mark.parametrize("close", [False, True])
def test_what_is_signed_is_read_with_the_key_and_without_one(close: bool) -> None:
    backend = MemoryBackend()
    signed(backend, close=close, rotate_records=2)
    for key in (KEY, None):
        store = reader(backend, key)
        assert found(store) == set(range(6)) and store.problems == []


@pytest.mark.parametrize("close", [False, True])
def test_with_another_key_nothing_is_decoded_and_that_is_told_once(close: bool) -> None:
    backend = MemoryBackend()
    signed(backend, close=close)
    store = reader(backend, b"other" * 8)
    assert found(store) == set() and [p.kind for p in store.problems] == ["signature"]
    assert [*store.records()] == [] and len(store.problems) == 1


@pytest.mark.parametrize("close", [False, True])
def test_records_without_a_signature_are_not_decoded(
    close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = MemoryBackend()
    store = Store.open(PATH, backend=backend)
    for n in range(600):
        store.put(n, n)
    if close:
        store.close()
    monkeypatch.setattr(fmt, "decode_result", None)
    strict = reader(backend)
    assert found(strict) == set()
    assert [p.kind for p in strict.problems if p.kind != "index"] == ["signature"]
    assert "not signed" in strict.problems[-1].text


def test_a_forged_record_is_passed_over_for_the_true_one() -> None:
    backend = MemoryBackend()
    path = signed(backend)
    forger = Store.open("forged", backend=backend)
    entry = forger.entry(3, "forged")
    name = path.rpartition("/")[2]
    identity = bytes.fromhex(name[7:39])
    # Whoever can write to the file can make a frame with good checksums; flagged as signed or not.
    for payload, flags in ((entry.payload, 0), (entry.payload + bytes(32), fmt.FLAG_SIGNED)):
        file = backend.files[path]
        fields = fmt.FRAME_FIELDS.pack(
            fmt.FRAME_MAGIC, fmt.RESULT, flags, 1, 0, len(payload), entry.record_id, entry.keys[0],
            b"",
        )  # fmt: skip
        placed = identity + len(file.data).to_bytes(8, "little") + fields
        file.data += fields + blake3(placed).digest(8) + payload
    assert reader(backend, None).get(3) == "forged"
    store = reader(backend)
    assert store.get(3) == 3 and found(store) == set(range(6))
    assert {p.kind for p in store.problems} == {"signature"}


def test_a_forged_tombstone_removes_nothing() -> None:
    backend = MemoryBackend()
    signed(backend)
    victim = reader(backend).find(blake3(b"key " + b"i" + (3).to_bytes(8, "little")).digest())
    assert victim is not None
    forger = Store.open(PATH, backend=backend)
    forger.remove(victim.record_id)
    forger.close()
    assert reader(backend, None).get(3) is None and reader(backend).get(3) == 3


def test_a_forged_index_is_not_believed() -> None:
    backend = MemoryBackend()
    signed(backend, close=True)
    (name,) = [n for n in backend.list(PATH) if n.endswith(".seg")]
    # One who has no key seals the same segment anew, with an index that hides everything.
    segment = reader(backend, None).catalog.segments[name]
    end = next(frame.offset for frame in segment.walk() if frame.kind == fmt.INDEX)
    padding = -(end + 56) % PAGE_SIZE
    covered = Covered(name, segment.identity, end, end, True, 0)
    payload = bytes(padding) + b"".join(
        write_index([[1 << 64]], [covered], (), segment.identity, end + 56 + padding)
    )
    header = fmt.frame_header(
        segment.identity, end, fmt.INDEX, len(payload), fmt.record_id_of(payload)
    )
    file = backend.files[f"{PATH}/{name}"]
    file.data[end:] = header + payload
    assert found(reader(backend, None)) == set()
    assert found(reader(backend)) == set(range(6))


def test_a_forged_index_over_several_segments_is_not_believed() -> None:
    backend = MemoryBackend()
    signed(backend, close=True, rotate_records=2)
    (path,) = [f"{PATH}/{n}" for n in backend.list(PATH) if n.endswith(".idx")]
    forger = reader(backend, None).catalog
    segments = sorted(forger.segments.values(), key=lambda segment: segment.rank)
    ids = [frame.record_id for segment in segments for frame in segment.walk()]
    covered = [Covered(s.name, s.identity, 1 << 30, 1 << 30, True, 0) for s in segments]
    forged = forger._write_index_file(PATH, [[1 << 64]], covered, ids)
    backend.rename(forged, path)
    assert found(reader(backend, None)) == set()
    assert found(reader(backend)) == set(range(6))


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_no_change_of_any_bytes_makes_a_wrong_value(data: st.DataObject) -> None:
    backend = MemoryBackend()
    path = signed(backend, close=data.draw(st.booleans()))
    file = backend.files[path]
    spans = frames(backend, path)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(file.data) - 1))
        file.data[place] ^= data.draw(st.integers(1, 255))
    before = file.data
    left = found(reader(backend))
    whole = {
        n for n, (start, end) in enumerate(spans[:6])
        if before[start:end] == file.data[start:end]
    }  # fmt: skip
    assert left <= whole


def test_a_frame_copied_to_another_place_or_segment_is_not_read() -> None:
    backend = MemoryBackend()
    path = signed(backend)
    spans = frames(backend, path)
    file = backend.files[path]
    start, end = spans[2]
    file.data += file.data[start:end]
    store = reader(backend)
    assert found(store) == set(range(6))
    assert {p.kind for p in store.problems} == {"damage"}
    other = segment_name(7, secrets.token_bytes(16))
    backend.create(f"{PATH}/{other}").write(bytes(file.data[:start]) + bytes(file.data[end:]))
    assert found(reader(backend)) == set(range(6))


def rechecked(backend: MemoryBackend, path: str, order: list[int]) -> None:
    """Lay the frames of a segment in another order, with good checksums."""
    file = backend.files[path]
    spans = frames(backend, path)
    data = bytearray(file.data[: fmt.FILE_HEADER_SIZE])
    identity = bytes(data[16:32])
    for n in order:
        start, end = spans[n]
        frame = bytes(file.data[start:end])
        placed = identity + len(data).to_bytes(8, "little") + frame[:48]
        data += frame[:48] + blake3(placed).digest(8) + frame[56:]
    file.data = data


def test_frames_in_another_order_are_not_decoded() -> None:
    backend = MemoryBackend()
    path = signed(backend)
    rechecked(backend, path, [0, 2, 1, 3, 4, 5])
    store = reader(backend)
    assert found(store) <= {0, 3, 4, 5} and 0 in found(store)
    assert "signature" in {p.kind for p in store.problems}


def test_a_frame_that_is_taken_out_is_missed() -> None:
    backend = MemoryBackend()
    path = signed(backend)
    rechecked(backend, path, [0, 1, 3, 4, 5])
    store = reader(backend)
    assert found(store) == {0, 1}
    gaps = [p for p in store.problems if "are gone" in p.text]
    assert len(gaps) == 1


def test_damage_leaves_a_gap_and_not_a_lost_segment() -> None:
    backend = MemoryBackend()
    path = signed(backend)
    start, end = frames(backend, path)[2]
    backend.files[path].data[start:end] = bytes(end - start)
    store = reader(backend)
    assert found(store) == {0, 1, 3, 4, 5}
    assert [(p.kind, p.offset, p.size) for p in store.problems] == [("damage", start, end - start)]


def test_a_segment_that_is_taken_out_from_between_is_missed() -> None:
    backend = MemoryBackend()
    signed(backend, close=True, rotate_records=2)
    store = reader(backend)
    segments = sorted(store.catalog.segments.values(), key=lambda s: s.rank)
    assert len(segments) == 3 and [*chain(segments)] == []
    ((where, gap),) = chain([segments[0], segments[2]])
    assert where is segments[2] and "is gone" in gap.text
    ((where, gap),) = chain(segments[1:])
    assert where is segments[1]


def test_blobs_and_spools_are_signed_through_their_records(local: Place) -> None:
    with local.open(signing_key=KEY, hold_bytes=1000) as store:
        store.hold([store.entry(n, b"v" * n * 200_000) for n in range(8)])
        store.put("now", 1)
    strict = local.open(None, ("000",), signing_key=KEY)
    assert all(strict.get(n) == b"v" * n * 200_000 for n in range(8))
    assert strict.problems == []


def test_a_key_is_a_file_bytes_or_a_variable(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY.hex().encode() + b"\n")
    file.chmod(0o600)
    assert signing_secret(file) == signing_secret(str(file)) == signing_secret(KEY) == KEY
    assert signing_secret(None) is None
    monkeypatch.setenv(VARIABLE, KEY.hex())
    assert signing_secret(None) == KEY
    monkeypatch.setenv(VARIABLE, str(file))
    assert signing_secret(None) == KEY
    backend = MemoryBackend()
    Store.open(PATH, backend=backend).put("a", 1)
    monkeypatch.delenv(VARIABLE)
    assert reader(backend).get("a") == 1


def short(path: Path) -> object:
    path.write_bytes(b"short")
    path.chmod(0o600)
    return path


def opened(path: Path) -> object:
    path.write_bytes(KEY)
    path.chmod(0o644)
    return path


def pipe(path: Path) -> object:
    os.mkfifo(path, 0o600)
    return path


@pytest.mark.parametrize(
    "make", [short, opened, pipe, lambda p: p, lambda p: p.parent, lambda p: b"", lambda p: b"few"]
)
def test_what_is_no_key_is_an_error_that_says_why(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(KeyFileError) as caught:
        signing_secret(make(tmp_path / "key"))
    assert KEY.decode() not in str(caught.value)


def test_a_variable_that_is_no_key_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "secret password")
    with pytest.raises(KeyFileError, match=VARIABLE) as caught:
        Store.open(PATH, backend=MemoryBackend())
    assert "password" not in str(caught.value)


def test_a_key_beside_the_data_is_refused(local: Place) -> None:
    with local.open() as store:
        store.put(1, 1)
    file = Path(local.path(), "key")
    file.write_bytes(KEY)
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match="kept with the data"):
        local.open(None, ("000",), signing_key=str(file))


def test_the_users_own_key_is_made_once_and_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    secret = user_secret()
    file = tmp_path / "config" / "parsl_ckpt" / "secret.key"
    assert file.stat().st_mode & 0o777 == 0o600 and [*file.parent.iterdir()] == [file]
    assert user_secret() == secret and len(secret) == 32
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="open to others"):
        user_secret()


def test_entries_are_signed_where_they_are_appended() -> None:
    backend = MemoryBackend()
    plain = Store.open("plain", backend=backend)
    entry: Entry = plain.entry("a", 1)
    store = Store.open(PATH, backend=backend, signing_key=KEY)
    store.append([entry, plain.entry("b", 2)])
    assert reader(backend).get("a") == 1 and reader(backend).get("b") == 2
