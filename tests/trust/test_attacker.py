"""A store that an enemy has laid out, opened with ``pickle=False``: nothing happens but errors."""

from __future__ import annotations

import os
import pickle
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from parsl_ckpt.checkpoint import LocalBackend, Store
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.index import (
    _TRAILER,
    _TRAILER_MAGIC,
    PAGE_SIZE,
    Covered,
    write_index,
)  # fmt: skip
from parsl_ckpt.checkpoint.segment import Entry, SegmentWriter, segment_name
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.errors import ParslCkptError

KEY = address("key")
FIRED: list[str] = []


def fire(*args: Any) -> None:
    FIRED.append(repr(args))


class Bomb:
    """Unpickling it calls a function."""

    def __reduce__(self) -> Any:
        return fire, ("unpickled",)


class Enemy:
    """Writes whatever it likes, with good checksums."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700)
        self.backend = LocalBackend()
        self.writer = SegmentWriter(
            self.backend, str(path), lambda identity: segment_name(0, identity)
        )

    def payload(self, payload: bytes, kind: int = fmt.RESULT, *keys: bytes) -> None:
        record: Any = None
        entry = Entry(kind, keys or (KEY,), fmt.record_id_of(payload), payload, record)
        self.writer.append([entry])

    def result(self, **fields: Any) -> None:
        self.payload(fmt.encode_record(fmt.Result(KEY, **fields)))

    def blob(self, data: bytes) -> tuple[bytes, int]:
        digest = blake3(data).digest()
        folder = self.path / "blobs" / digest.hex()[:2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / digest.hex()).write_bytes(data)
        (folder / digest.hex()).chmod(0o600)
        return digest, len(data)


@pytest.fixture
def enemy(tmp_path: Path) -> Iterator[Enemy]:
    FIRED.clear()
    yield Enemy(tmp_path / "checkpoint")
    assert FIRED == []


def survey(enemy: Enemy, memory: int = 64 << 20, seconds: float = 30.0) -> Store:
    """Do everything that can be done with a store; only typed errors, in bounded memory."""
    before = time.monotonic()
    tracemalloc.start()
    try:
        store = Store.open(None, sources=[enemy.path], pickle=False, named=False)
        assert store.get("key") is None
        assert not [problem for problem in store.problems if problem.kind == "untrusted"]
        found = store.find(KEY)
        if found is not None:
            with pytest.raises(ParslCkptError):
                store.value(found)
            store.note(found.record_id, "value")
        list(store)
        list(store.items())
        list(store.records())
        store.failures(KEY)
        store.runs()
        store.code(KEY)
        store.close()
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
    assert time.monotonic() - before < seconds  # generous: a hang, not a speed, fails it
    return store


PICKLE = pickle.dumps(Bomb())


@pytest.mark.parametrize("codec", [2, 3])
@pytest.mark.parametrize("where", ["value", "blob", "part"])
def test_no_pickle_is_loaded(enemy: Enemy, codec: int, where: str) -> None:
    if where == "value":
        enemy.result(codec=codec, value=PICKLE)
    elif where == "blob":
        enemy.result(codec=codec | fmt.SPILLED, blobs=(enemy.blob(PICKLE),))
    else:
        enemy.result(codec=codec | fmt.SPILLED | fmt.LAID_OUT, parts=((0, PICKLE),))
    assert survey(enemy).problems


def test_no_pickle_is_loaded_from_other_records(enemy: Enemy) -> None:
    for record in (
        fmt.Alias(KEY, bytes(16), KEY), fmt.Note(KEY[:16], "value", PICKLE),
        fmt.Failure(KEY, traceback=PICKLE), fmt.Code(KEY, leaves={"f": PICKLE}),
        fmt.Run("begin", {"used": PICKLE, "more": [PICKLE]}),
    ):  # fmt: skip
        enemy.payload(fmt.encode_record(record), fmt.KIND_OF[type(record)])
    enemy.payload(PICKLE, 77)
    survey(enemy)


def text(value: str) -> bytes:
    return len(value).to_bytes(4, "little") + value.encode()


def test_no_module_is_imported_and_no_class_is_called(enemy: Enemy, tmp_path: Path) -> None:
    for module, name in (("antigravity", "x"), ("os", "system"), (__name__, "Bomb")):
        for tag in (b"C", b"E"):
            enemy.result(codec=1, value=tag + text(module) + text(name) + bytes(4))
    survey(enemy)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "value",
    [
        b"O" + text("../../../../etc/passwd"),
        b"l\xff\xff\xff\xff",
        b"l\x01\0\0\0" * 100_000,
        b"d\x01\0\0\0" * 5000,
        b"s\xff\xff\xff\x7f",
        b"B\xff\xff\xff\xff",
        b"nC" + b"s" + text("<f8") + b"t\x02\0\0\0" + b"i" + bytes(8) + b"i" + b"\xff" * 7 + b"\x7f"
        + b"b" + bytes(4),
        b"nC" + b"s" + text("O") + b"t\x01\0\0\0i\x01" + bytes(7) + b"b\x08\0\0\0" + bytes(8),
        b"x" + b"s" + text("V999999999999") + b"b" + bytes(4),
        b"R" + b"i" + bytes(8) + b"i" + bytes(8),
        b"Q" + text("not a number"),
        b"e\x01\0\0\0l" + bytes(4),
        b"W\xff\xff\xff\xff",
        b"",
        b"\xff",
    ],
)  # fmt: skip
def test_values_that_lie_are_typed_errors(enemy: Enemy, value: bytes) -> None:
    enemy.result(codec=1, value=value)
    assert survey(enemy).problems


@pytest.mark.parametrize(
    "fields",
    [
        {"codec": 1 | fmt.SPILLED},
        {"codec": 1 | fmt.SPILLED | fmt.LAID_OUT},
        {"codec": 1 | fmt.LAID_OUT, "parts": ((0, b""),)},
        {"codec": 1 | fmt.LAID_OUT, "value": b"B" + bytes(4), "parts": ((1 << 60, b"zip"),)},
        {"codec": 1 | fmt.LAID_OUT, "value": b"B" + bytes(4), "parts": ((-1, b"zip"),)},
        {"codec": 255},
        {"codec": -1},
        {"codec": 1, "value": b"B" + bytes(4), "blobs": ((b"", 5),)},
        {"codec": 1, "value": b"B" + bytes(4), "blobs": ((b"../../../../etc/passwd", 5),)},
        {"codec": 1, "value": b"B" + bytes(4), "blobs": ((b"/" * 32, 1 << 62),)},
        {"codec": 1, "value": b"B" + bytes(4), "blobs": ((bytes(5000), -1),)},
    ],
)
def test_records_that_contradict_themselves_are_typed_errors(
    enemy: Enemy, fields: dict[str, Any]
) -> None:
    enemy.result(**fields)
    assert survey(enemy).problems


@pytest.mark.parametrize("kind", [*range(1, 12), 255])
def test_payloads_that_lie_about_their_lengths(enemy: Enemy, kind: int) -> None:
    for payload in (
        b"\xdd\xff\xff\xff\xff", b"\x9f" + b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
        b"\x91" * 100_000, b"\x81\xa1a" * 100_000, b"\x92\xa1e" + b"\x81\xa1a" * 5000, b"",
        msgspec.msgpack.encode([KEY, KEY, "\x00", KEY, "", (), ((b"",) * 1000,)]),
    ):  # fmt: skip
        enemy.payload(payload, kind)
    survey(enemy)


def test_frames_of_absurd_length(enemy: Enemy) -> None:
    for length in (1 << 63, (1 << 64) - 1, 1 << 40):
        at = enemy.writer.offset
        enemy.writer._write(
            fmt.frame_header(enemy.writer.identity, at, fmt.RESULT, length, bytes(16), (KEY,))
        )
        enemy.writer.offset += fmt.FRAME_HEADER_SIZE
    survey(enemy)


def test_terabytes_of_nothing_are_stepped_over(enemy: Enemy) -> None:
    os.truncate(enemy.writer.path, 1 << 42)
    survey(enemy)


def index_file(enemy: Enemy, covered: list[Covered], entries: list[int], removed: Any = ()) -> None:
    identity = bytes(16)
    path = enemy.path / f"000009-{identity.hex()}.idx"
    header = fmt.file_header(fmt.INDEX_MAGIC, identity).ljust(PAGE_SIZE, b"\0")
    path.write_bytes(header + b"".join(write_index([entries], covered, removed, identity, 4096)))
    path.chmod(0o600)


def test_an_index_that_points_elsewhere(enemy: Enemy) -> None:
    enemy.result(codec=1, value=b"X")
    prefix = int.from_bytes(KEY[:8], "little") << 64
    names = ["../../../../etc/passwd", "/etc/passwd", enemy.writer.name, "\0", "x" * 100_000]
    covered = [Covered(name, enemy.writer.identity, 1 << 62, 1 << 62, True, -5) for name in names]
    places = [0, 1, 40, (1 << 40) - 1, 2 << 40, 2 << 40 | 40, 2 << 40 | (1 << 40) - 1, 9 << 40]
    index_file(enemy, covered, [prefix | place for place in places], [b"short", bytes(5000)])
    survey(enemy)


def test_an_index_that_claims_more_than_there_is(enemy: Enemy) -> None:
    path = enemy.path / f"000009-{bytes(16).hex()}.idx"
    for pages, head in ((0, 1 << 62), (1 << 30, 1 << 30), (0, 1 << 40)):
        size = 4096 + pages * 4096 + head + 72
        fields = _TRAILER.pack(_TRAILER_MAGIC, bytes(16), 4096, pages, head, bytes(16), b"")[:-8]
        with open(path, "wb") as file:
            file.write(fmt.file_header(fmt.INDEX_MAGIC, bytes(16)))
            if size < 1 << 43:
                file.seek(size - 72)
            file.write(fields + blake3(fields).digest(8))
        path.chmod(0o600)
        survey(enemy)


@pytest.mark.usefixtures("zstd")
def test_a_decompression_bomb(enemy: Enemy) -> None:
    from parsl_ckpt.checkpoint.zstd import codec_of

    compressor = codec_of("zstd")
    assert compressor is not None
    bomb = compressor._compress(bytes(1 << 30))
    assert len(bomb) < 120_000
    for size in (1 << 30, 100_000, 1 << 50):
        enemy.result(codec=1 | fmt.LAID_OUT, value=b"B" + bytes(4), parts=((size, bomb),))
        survey(enemy)


def test_links_pipes_and_devices_do_not_lead_anywhere(enemy: Enemy, tmp_path: Path) -> None:
    enemy.result(codec=1, value=b"B" + bytes(4), blobs=((bytes(32), 5),))
    for number, target in enumerate(["/dev/zero", "/etc/passwd", "/", "self"], 1):
        (enemy.path / segment_name(number, bytes([number]) * 16)).symlink_to(target)
        (enemy.path / f"00000{number}-{'ab' * 16}.idx").symlink_to(target)
    os.mkfifo(enemy.path / segment_name(8, b"8" * 16))
    os.mkfifo(enemy.path / f"000008-{'cd' * 16}.idx")
    (enemy.path / "blobs" / "00").mkdir(parents=True)
    os.mkfifo(enemy.path / "blobs" / "00" / bytes(32).hex())
    survey(enemy)


def test_a_run_of_ours_may_be_begun_in_such_a_directory(enemy: Enemy) -> None:
    enemy.result(codec=2, value=PICKLE)
    with Store.open(enemy.path, pickle=False) as store:
        assert store.get("key") is None
        store.put("key", 42)
        assert store.get("key") == 42
