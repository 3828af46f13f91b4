"""A sealed segment is verified as a whole: no changed byte passes, what is lost is still told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import MemoryBackend, Store, inventory, rewrite, verify
from parsl_ckpt.checkpoint.frames import Frames
from parsl_ckpt.checkpoint.index import PAGE_SIZE, Covered, write_index
from parsl_ckpt.checkpoint.reclaim import entry_of
from parsl_ckpt.checkpoint.sealing import Gathered, Seal, Verified, decoded, encoded, verified
from parsl_ckpt.checkpoint.segment import OpenFiles, SegmentWriter, parse_name, segment_name

PATH = "run/checkpoint"
BLOB = b"B" * 200_000


def sealed(**options: Any) -> tuple[MemoryBackend, str]:
    """A store of small results, notes and two blobs, and the path of its segment."""
    backend = MemoryBackend()
    with Store.open(PATH, backend=backend, **options) as store:
        for n in range(20):
            store.put(("small", n), [n, str(n)])
            store.append([store.stage_note(bytes(16), "n", b"x")])
        store.put("blob", BLOB)
        store.put("again", BLOB)
        store.put("other", BLOB[1:])
    (name,) = [name for name in backend.list(PATH) if parse_name(name)]
    return backend, f"{PATH}/{name}"


def seen(backend: MemoryBackend, path: str) -> Verified | None:
    found = parse_name(path.rpartition("/")[2])
    assert found is not None
    return verified(backend.open(path), found[1])


def report_of(backend: MemoryBackend) -> verify.Report:
    return verify.verify(backend, [inventory._store(backend, PATH)])


def test_a_seal_says_what_stands_in_the_segment() -> None:
    backend, path = sealed()
    found = seen(backend, path)
    assert found is not None and found.seal.records == 43
    assert found.size == len(backend.files[path].data)
    (place,) = [inventory._store(backend, PATH)]
    stored = {(inventory.blob_digest(at), file.size) for at, file in inventory.blobs(backend, PATH)}
    assert set(found.seal.blobs()) == stored and len(stored) == 2
    report = verify.verify(backend, [place])
    assert report.good and (report.files, report.records) == (3, 43)


def test_frame_by_frame_there_is_the_same_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, _ = sealed()
    at_once = report_of(backend)
    monkeypatch.setattr(verify, "verified", lambda *_: None)
    assert report_of(backend) == at_once


@pytest.mark.once
def test_no_changed_byte_passes() -> None:
    backend, path = sealed()
    data = backend.files[path].data
    for at in range(len(data)):
        data[at] ^= 0x10
        assert seen(backend, path) is None, at
        data[at] ^= 0x10
    assert seen(backend, path) is not None


@pytest.mark.once
def test_no_cut_file_passes_and_none_that_has_grown() -> None:
    backend, path = sealed()
    file = backend.files[path]
    data = bytes(file.data)
    for cut in (*range(300), *range(300, len(data), 37)):
        file.data = bytearray(data[:cut])
        assert seen(backend, path) is None, cut
    file.data = bytearray(data + b"\0")
    assert seen(backend, path) is None


def test_a_byte_that_changed_before_sealing_is_found() -> None:
    backend = MemoryBackend()
    store = Store.open(PATH, backend=backend)
    store.put(1, "one")
    store.put(2, "two")
    (name,) = [name for name in backend.list(PATH) if parse_name(name)]
    file = backend.files[f"{PATH}/{name}"]
    file.data[file.data.index(b"two")] ^= 1
    store.close()
    report = report_of(backend)
    assert report.lost_records == 1 and not report.good


def test_a_missing_blob_costs_the_results_that_name_it() -> None:
    backend, _ = sealed()
    (path,) = [at for at, file in inventory.blobs(backend, PATH) if file.size == len(BLOB)]
    backend.remove(path)
    report = report_of(backend)
    assert [lost.why.endswith("is missing") for lost in report.lost] == [True, True]
    assert report.records == 43


def test_what_is_written_anew_has_a_seal_with_its_blobs() -> None:
    backend, path = sealed()
    before = seen(backend, path)
    assert before is not None
    frames = [frame for frame in _frames(backend) if frame.kind != 10]
    written = rewrite.write_segment(backend, PATH, 7, (frame.entry() for frame in frames))
    assert written is not None
    after = seen(backend, written.path)
    assert after is not None
    assert (after.seal.records, set(after.seal.blobs())) == (43, set(before.seal.blobs()))


def test_a_whole_frame_that_does_not_decode_is_written_anew_and_names_nothing() -> None:
    backend = MemoryBackend()
    entry = entry_of(verify.fmt.Result(b"k" * 32))
    entry.payload = b"\xc1"
    entry.record_id = verify.fmt.record_id_of(entry.payload)
    written = rewrite.write_segment(backend, PATH, 0, [entry])
    assert written is not None
    found = seen(backend, written.path)
    assert found is not None and found.seal.records == 1 and not list(found.seal.blobs())


def test_a_signed_segment_is_gone_through(tmp_path: Any) -> None:
    backend, path = sealed(signing_key=b"k" * 32)
    assert seen(backend, path) is None  # its index can be read with the key only
    assert report_of(backend).good


@pytest.mark.parametrize("shift", [-3, 1, 40])
def test_a_seal_over_what_are_no_frames_hides_no_damage(shift: int) -> None:
    """Such a file cannot come of an accident: its digests are good."""
    backend, path = sealed()
    good = seen(backend, path)
    assert good is not None
    writer = SegmentWriter(backend, PATH, lambda identity: segment_name(9, identity))
    entry = entry_of(verify.fmt.Run("e", {"n": 1}))
    at = writer.append([entry])[0]
    covered = Covered(writer.name, writer.identity, writer.offset, writer.offset, True, 0)
    file = backend.files[writer.path]
    length = len(entry.payload) + shift
    file.data[at + 8 : at + 16] = length.to_bytes(8, "little")
    writer._gathered = Gathered(bytes(file.data))

    def index(offset: int) -> bytes:
        padding = -offset % PAGE_SIZE
        parts = write_index([], [covered], [], writer.identity, offset + padding)
        return bytes(padding) + b"".join(parts)

    writer.append_index(index, 1, (), [at])
    backend.remove(path)
    assert seen(backend, writer.path) is not None
    lost: list[int] = []
    list(_opened(backend).whole(lambda *damage: lost.append(damage[0])))
    assert lost and all(at <= offset < writer.offset for offset in lost)


def _opened(backend: MemoryBackend) -> Frames:
    place = inventory._store(backend, PATH)
    (segment,) = inventory.segments(backend, [place], OpenFiles())
    frames = Frames(segment, growing=False)
    frames.is_whole()
    return frames


def _frames(backend: MemoryBackend) -> list[Any]:
    return list(_opened(backend).whole())


@given(st.binary(max_size=40), st.lists(st.binary(max_size=40), max_size=8))
def test_pieces_have_the_digest_of_the_whole(first: bytes, pieces: list[bytes]) -> None:
    gathered = Gathered(first)
    for piece in pieces:
        gathered.add(piece)
    assert gathered.digest() == verify.fmt.blake3(first + b"".join(pieces)).digest()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_seal_or_none(payload: bytes) -> None:
    seal = decoded(payload)
    assert seal is None or isinstance(seal, Seal)


@pytest.mark.parametrize("joined", [b"x", b"x" * 39, b"x" * 41])
def test_a_seal_that_contradicts_itself_is_none(joined: bytes) -> None:
    for fields in ([joined], [b"", joined]):
        data = msgspec.msgpack.encode([b"d" * 32, 1, *fields])
        assert decoded(len(data).to_bytes(4, "little") + data) is None
    assert decoded(bytes(4096)) is None  # as earlier versions left it
    good = decoded(encoded(b"d" * 32, 1, [(b"b" * 32, 7)], [40, 300]) + bytes(9))
    assert good is not None and list(good.blobs()) == [(b"b" * 32, 7)]
    assert good.others == bytes([40, *bytes(7), 44, 1, *bytes(6)])
