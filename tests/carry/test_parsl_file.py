"""Parsl's files are told apart into records, whatever became of them; nothing is executed."""

from __future__ import annotations

import os
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint.parsl_file import Cut, Damaged, ParslFile, end_of_pickle

PROTOCOLS = (2, 3, 4, 5)
SMALL = [1.5, "abc", (1, 2, [3]), None, b"q" * 30]
VALUES = [
    0, "x", [1] * 100_000, b"z" * 200_000, "é" * 70_000, set(range(50)), 2**5000,
    bytearray(100_000), float, {"a": [(1, 2)] * 3}, b"\x80\x04\x95" * 50, "." * 65_536,
    [b"y" * 65_530] * 3,
]  # fmt: skip


def record(number: int, value: Any, protocol: int = 4) -> bytes:
    data = {"hash": f"{number:032x}", "exception": None, "result": value}
    return pickle.dumps(data, protocol)


def records_of(tmp_path: Path, data: bytes) -> tuple[list[tuple[int, bytes]], ParslFile]:
    path = tmp_path / "tasks.pkl"
    path.write_bytes(data)
    with open(path, "rb", buffering=0) as file:
        found = ParslFile(file)
        return [(int.from_bytes(one.key, "big"), one.data) for one in found], found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_record_is_found_as_it_was_written(protocol: int, tmp_path: Path) -> None:
    written = [record(n, value, protocol) for n, value in enumerate(VALUES)]
    found, file = records_of(tmp_path, b"".join(written))
    assert found == list(enumerate(written))
    assert (file.damaged, file.failures) == (0, 0)


def test_what_the_installed_parsl_wrote_is_found(fixtures: Path) -> None:
    with open(fixtures / "tasks.pkl", "rb", buffering=0) as file:
        records = ParslFile(file)
        assert len(list(records)) == 14
        assert records.damaged == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_cut_keeps_every_record_before_it(protocol: int, tmp_path: Path) -> None:
    written = [record(n, value, protocol) for n, value in enumerate(SMALL)]
    whole = b"".join(written)
    ends = [sum(map(len, written[: n + 1])) for n in range(len(written))]
    for cut in range(len(whole)):
        found, file = records_of(tmp_path, whole[:cut])
        assert found == list(enumerate(written))[: sum(end <= cut for end in ends)]
        assert file.damaged == (cut not in (0, *ends))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_record_that_was_cut_off_costs_no_later_one(protocol: int, tmp_path: Path) -> None:
    """A full disk, and then room again: Parsl goes on behind what it had written."""
    torn, whole = record(1, "x" * 100, protocol), record(2, "y" * 100, protocol)
    for cut in range(1, len(torn)):
        found, file = records_of(tmp_path, torn[:cut] + whole)
        assert found == [(2, whole)], cut
        assert file.damaged == 1


def test_a_large_record_that_was_cut_off_costs_no_later_one(tmp_path: Path) -> None:
    torn, whole = record(1, [b"x" * 300_000, "y" * 300_000]), record(2, 2)
    for cut in range(100, len(torn), 65_537):
        found, file = records_of(tmp_path, torn[:cut] + whole * 2)
        assert found == [(2, whole)] * 2, cut
        assert file.damaged == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_flip_raises_or_makes_records_up(protocol: int, tmp_path: Path) -> None:
    written = [record(n, value, protocol) for n, value in enumerate(SMALL)]
    whole = b"".join(written)
    for place in range(len(whole)):
        for bit in (1, 16, 128):
            data = bytearray(whole)
            data[place] ^= bit
            found, _ = records_of(tmp_path, bytes(data))
            assert len(found) <= len(SMALL)
            # Parsl's files have no checksums: one record may be another now, not two of them.
            assert sum(one not in list(enumerate(written)) for one in found) <= 1


def test_what_is_no_record_is_left_out(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(200_000)
    other = pickle.dumps({"something": "else"}, 4)
    whole = record(1, 1)
    found, file = records_of(tmp_path, noise + whole + other + whole + noise)
    assert found == [(1, whole)] * 2
    assert file.damaged == 3
    assert records_of(tmp_path, b"")[0] == []
    assert records_of(tmp_path, bytes(1_000_000))[0] == []


def test_failures_of_old_versions_are_counted_and_left_out(tmp_path: Path) -> None:
    failed = pickle.dumps({"hash": "0" * 32, "exception": ValueError("no"), "result": None}, 4)
    found, file = records_of(tmp_path, failed + record(1, 1))
    assert [number for number, _ in found] == [1]
    assert (file.failures, file.damaged) == (1, 0)


LENGTHS = {
    "a frame": b"\x95" + struct.pack("<Q", 1 << 62),
    "bytes": b"\x8e" + struct.pack("<Q", 1 << 62),
    "bytes of 4 GB": b"B" + struct.pack("<I", 0xFFFFFFFF),
    "a text": b"\x8d" + struct.pack("<Q", 1 << 40),
    "a negative length": b"\x8b" + struct.pack("<i", -5),
    "a line without end": b"Vno end",
}


@pytest.mark.parametrize("what", LENGTHS)
def test_no_length_is_believed(what: str, tmp_path: Path) -> None:
    """Nothing is read that is not there, and nobody goes round in circles."""
    head = record(1, None, 3).partition(b"result")[0] + b"result"
    whole = record(2, 2)
    found, file = records_of(tmp_path, head + LENGTHS[what] + whole + b"\n" * 10)
    assert [number for number, _ in found] == [2]
    assert file.read <= os.stat(tmp_path / "tasks.pkl").st_size


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('executed')",)


def test_nothing_is_executed(tmp_path: Path) -> None:
    found, _ = records_of(tmp_path, record(1, Bomb()))
    assert [number for number, _ in found] == [1]


def test_pickles_end_where_pickle_says(tmp_path: Path) -> None:
    import io

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in VALUES:
            data = pickle.dumps(value, protocol)
            file = io.BytesIO(data + b"more")
            pickle.load(file)
            assert end_of_pickle(data + b"more") == file.tell() == len(data)
            if len(data) > 2:
                with pytest.raises(Cut):
                    end_of_pickle(data[:-1])
    with pytest.raises(Damaged):
        end_of_pickle(b"\xff\xff")
