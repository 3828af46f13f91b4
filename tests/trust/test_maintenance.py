"""Looking after a run directory does not make a stranger's records ours, nor follow his links."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import Store, maintain
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints
from parsl_ckpt.errors import ParslCkptError

from .test_attacker import KEY, Enemy

FIRED: list[str] = []


def fire(text: str) -> str:
    FIRED.append(text)
    return "evil"


class Bomb:
    def __reduce__(self) -> Any:
        return fire, ("unpickled",)


Work = Callable[[Path], Any]
MAINTAIN: dict[str, Work] = {
    "compact": maintain.compact,
    "repair": maintain.repair,
    "prune": lambda root: maintain.prune(root, larger_than=10**6),
    "budget": lambda root: maintain.prune(root, max_bytes=10**9),
    "remove": lambda root: maintain.remove(root, keys=["ff" * 32]),
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A stranger's run between two of ours: his records, and his removal of one of ours."""
    FIRED.clear()
    root = tmp_path / "runs"
    with Store.open(root / "000" / "checkpoint") as store:
        store.put("mine", 1)
        found = store.find(next(r.key for _, _, r in store.records()))  # type: ignore[union-attr]
        assert found is not None
    with Store.open(root / "001" / "checkpoint") as store:
        store.put("evil", Bomb())
        store.put("mine", Bomb())
        store.remove(found.record_id, reason="forgotten")
    with Store.open(root / "002" / "checkpoint") as store:
        store.put("other", 2)
    segment = next((root / "001" / "checkpoint").glob("*.seg"))
    segment.chmod(0o666)
    data = bytearray(segment.read_bytes())
    segment.write_bytes(bytes(data[:-1]))  # something to be repaired
    os.utime(segment, (1, 1))  # and nobody is at it
    return root


def look(root: Path) -> dict[str, Any]:
    with Store.open(None, sources=get_all_checkpoints(root), named=False) as store:
        return {key: store.get(key) for key in ("mine", "other", "evil")}


@pytest.mark.parametrize("how", MAINTAIN)
def test_what_is_not_trusted_is_left_alone(runs: Path, how: str) -> None:
    assert pickle.loads(pickle.dumps(Bomb())) == "evil" and FIRED.pop()
    segment = next((runs / "001" / "checkpoint").glob("*.seg"))
    before = segment.read_bytes()
    assert look(runs) == {"mine": 1, "other": 2, "evil": None}
    done = MAINTAIN[how](runs)
    assert "can be written to by others" in done.left["001"]
    assert segment.read_bytes() == before
    assert look(runs) == {"mine": 1, "other": 2, "evil": None} and FIRED == []


def test_a_strangers_run_may_be_removed_and_its_removals_go_with_it(runs: Path) -> None:
    maintain.remove(runs, runs=["001"])
    assert not (runs / "001").exists()
    assert look(runs) == {"mine": 1, "other": 2, "evil": None}


@pytest.mark.parametrize("how", MAINTAIN)
@pytest.mark.parametrize("level", ["blobs", "part"])
def test_links_among_blobs_lead_nowhere(tmp_path: Path, how: str, level: str) -> None:
    """Blobs that no record names are removed; those of somebody else's store are not ours."""
    with Store.open(tmp_path / "victim") as store:
        store.put("a", b"v" * 300_000)
    (tmp_path / "victim" / "blobs" / ".tmp-1234").write_bytes(b"unfinished")
    part = next(p for p in (tmp_path / "victim" / "blobs").iterdir() if p.is_dir())
    (part / ".tmp-5678").write_bytes(b"unfinished")
    victims = sorted((tmp_path / "victim").rglob("*"))
    root = tmp_path / "runs"
    for run in ("000", "001"):
        with Store.open(root / run / "checkpoint") as store:
            store.put(run, 1)
    blobs = root / "001" / "checkpoint" / "blobs"
    if level == "blobs":
        blobs.symlink_to(tmp_path / "victim" / "blobs")
    else:
        blobs.mkdir(mode=0o700)
        (blobs / part.name).symlink_to(part)
    MAINTAIN[how](root)
    maintain.verify(root)
    maintain.prune(root, keep_runs=0)
    assert sorted((tmp_path / "victim").rglob("*")) == victims
    with Store.open(None, sources=[tmp_path / "victim"]) as store:
        assert store.get("a") == b"v" * 300_000
    shutil.rmtree(root, ignore_errors=True)


def hostile(enemy: Enemy) -> None:
    """One of everything that an attacker may write, between whole records."""
    evil = pickle.dumps(Bomb())
    enemy.result(codec=2, value=evil)
    enemy.result(codec=3 | fmt.SPILLED, blobs=(enemy.blob(evil),))
    enemy.result(codec=1, value=b"B" + bytes(4), blobs=((b"../../../../etc/passwd", 5),))
    enemy.result(codec=1, value=b"B" + bytes(4), blobs=((bytes(5000), -1), (b"", 1 << 62)))
    enemy.result(codec=1 | fmt.LAID_OUT, value=b"B" + bytes(4), parts=((1 << 60, b"zip"),))
    enemy.result(codec=1, value=b"l\x01\0\0\0" * 100_000)
    for kind in (*range(1, 12), 255):
        for payload in (b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, evil, b""):
            enemy.payload(payload, kind)
    for record in (
        fmt.Alias(KEY, bytes(16), KEY), fmt.Note(KEY[:16], "../../x", evil),
        fmt.Run("begin", {"run": "../../../etc", "used": [evil], "started": "x" * 10_000}),
        fmt.Run("end", {"tasks": {"a": evil}, "ended": float("nan")}),
        fmt.Tombstone((b"", bytes(5000), KEY[:16]), "x" * 10_000),
    ):  # fmt: skip
        enemy.payload(fmt.encode_record(record), fmt.KIND_OF[type(record)])
    at = enemy.writer.offset
    header = fmt.frame_header(enemy.writer.identity, at, fmt.RESULT, 1 << 63, bytes(16), (KEY,))
    enemy.writer._write(header)
    os.truncate(enemy.writer.path, 1 << 41)  # and two terabytes of nothing
    os.utime(enemy.writer.path, (1, 1))


@pytest.mark.parametrize("how", MAINTAIN)
def test_a_hostile_store_may_be_looked_after(tmp_path: Path, how: str) -> None:
    """No code runs, nothing outside is touched, no length is believed."""
    FIRED.clear()
    run = tmp_path / "runs" / "000"
    run.mkdir(parents=True, mode=0o700)
    hostile(Enemy(run / "checkpoint"))
    beat = {"pid": -(1 << 70), "host": ["x"] * 1000, "beat": "soon", "used": 7, "ended": {}}
    (run / "heartbeat.json").write_text(json.dumps(beat))
    with Store.open(tmp_path / "runs" / "001" / "checkpoint") as store:
        store.put("other", 2)
    outside = {path for path in tmp_path.rglob("*") if "000" not in path.parts}
    tracemalloc.start()
    try:
        maintain.runs(tmp_path / "runs")
        maintain.verify(tmp_path / "runs")
        with contextlib.suppress(ParslCkptError):
            MAINTAIN[how](tmp_path / "runs")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert FIRED == []
    left = {path for path in tmp_path.rglob("*") if "000" not in path.parts}
    assert {path for path in outside if "checkpoint" not in path.parts} <= left
    with Store.open(
        None, sources=get_all_checkpoints(tmp_path / "runs"), named=False, pickle=False
    ) as reader:
        assert reader.get("other") == 2
    assert FIRED == []


WITH_OUR_KEY: dict[str, Callable[[Path], Any]] = {
    "compact": lambda root: maintain.compact(root, signing_key=KEY),
    "repair": lambda root: maintain.repair(root, signing_key=KEY),
    "prune": lambda root: maintain.prune(root, apps=["*"], signing_key=KEY),
    "keep": lambda root: maintain.prune(root, keep_runs=1, signing_key=KEY),
    "remove": lambda root: maintain.remove(root, apps=["*"], signing_key=KEY),
}


@pytest.mark.parametrize("how", WITH_OUR_KEY)
def test_what_is_signed_with_another_key_is_not_damage_to_be_dropped(
    how: str, tmp_path: Path
) -> None:
    other = b"another key, 16+"
    for run, key in (("000", other), ("001", other), ("002", KEY)):
        with Store.open(tmp_path / run / "checkpoint", signing_key=key) as store:
            store.put(run, run, app=run)
        os.utime(next((tmp_path / run / "checkpoint").glob("*.seg")), (1, 1))
    done = WITH_OUR_KEY[how](tmp_path)
    assert done.left == dict.fromkeys(("000", "001"), "it is signed with another key")
    with Store.open(
        None, sources=get_all_checkpoints(tmp_path), named=False, signing_key=other
    ) as store:
        assert [store.get(run) for run in ("000", "001")] == ["000", "001"]
    report = maintain.verify(tmp_path, signing_key=KEY)
    assert [damage.what for damage in report.damage] == ["it is signed with another key"] * 2
    assert not report.good and not report.lost_records
    assert maintain.remove(tmp_path, runs=["0"], signing_key=KEY).left == {}
    assert not (tmp_path / "000").exists()


def test_a_forged_record_does_not_make_a_run_another_s(tmp_path: Path) -> None:
    with Store.open(tmp_path / "000" / "checkpoint", signing_key=KEY) as store:
        store.put("mine", 1)
    with Store.open(tmp_path / "000" / "checkpoint", signing_key=b"another key, 16+") as store:
        store.put("forged", 2)
    for segment in (tmp_path / "000" / "checkpoint").glob("*.seg"):
        os.utime(segment, (1, 1))
    done = maintain.compact(tmp_path, signing_key=KEY)
    assert (done.left, done.records, done.unreadable) == ({}, 1, 1)
