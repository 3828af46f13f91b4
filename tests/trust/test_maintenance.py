"""Looking after a run directory does not make a stranger's records ours, nor follow his links."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import Store, maintain
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints

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
