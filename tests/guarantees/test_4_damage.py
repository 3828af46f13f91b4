"""Promise 4, on the level of runs: damage to any file costs what it hit, and nothing else.

A small run directory (one run that ended, one that was killed, one that only looked) is damaged at
sampled places of every file; a new run over it must begin, give right values, and compute again no
more than what the damage can have hit.  Every byte of the store's own files is the business of
``tests/checkpoint/test_damage.py``.
"""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import parsl_ckpt as pc

from .helpers import Zygote

pytestmark = pytest.mark.once

COUNT = 6
APPS = """
import random
import parsl_ckpt as pc

ran = []

@pc.python_app(cache=True, code="name")
def text(i):
    ran.append(("text", i))
    return f"<text {i}>" + "x" * i

@pc.python_app(cache=True, code="name")
def bulk(i):
    ran.append(("bulk", i))
    return random.Random(i).randbytes(200_000)  # nothing that compression makes small

@pc.python_app(cache=True, code="name")
def measure(i, part, whole):
    ran.append(("measure", i))
    return f"<measure {i}> {len(part)} {len(whole)}"
"""
PROGRAM = (
    APPS
    + """
import os, signal, sys
run_dir, last, ending = sys.argv[1], int(sys.argv[2]), sys.argv[3]
dfk = pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)],
                        checkpoint_mode="task_exit", run_dir=run_dir))
for i in range(last):
    measure(i, text(i), bulk(i)).result()
dfk.checkpoint()
if ending == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""
)


@pytest.fixture(scope="module")
def original(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the calls by a run that ended, all by one that was killed, and one that looked."""
    runs = tmp_path_factory.mktemp("damage") / "runs"
    assert zygote.run(PROGRAM, runs, COUNT // 2, "ends").status == 0
    assert zygote.run(PROGRAM, runs, COUNT, "killed").status == -9
    assert zygote.run(PROGRAM, runs, COUNT, "ends").status == 0
    return runs


@pytest.fixture(scope="module")
def apps() -> dict:
    names: dict = {"__name__": "damage_apps"}
    exec(APPS, names)
    return names


def look(runs: Path, apps: dict) -> list[tuple[str, int]]:
    """What a new run computes again; its values are asserted."""
    ran = apps["ran"]
    ran.clear()
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=1)], checkpoint_mode="task_exit", run_dir=runs
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pc.load(config):
            for i in range(COUNT):
                part, whole = apps["text"](i), apps["bulk"](i)
                assert apps["measure"](i, part, whole).result() == (
                    f"<measure {i}> {len(f'<text {i}>') + i} 200000"
                )
                assert part.result() == f"<text {i}>" + "x" * i
                assert whole.result() == random.Random(i).randbytes(200_000)
    return list(ran)


def places(file: Path, chance: random.Random) -> list[int]:
    size = file.stat().st_size
    chosen = {0, max(0, size - 1), *(chance.randrange(max(1, size)) for _ in range(4))}
    value = file.read_bytes().find(b"<text 2>xx")
    return sorted(chosen | ({value + 6} if value >= 0 else set()))


def damages(runs: Path) -> Iterator[tuple[Path, str, int]]:
    chance = random.Random(4)
    for file in sorted(path for path in runs.rglob("*") if path.is_file()):
        for place in places(file, chance):
            for kind in {"flip", chance.choice(["flip", "flip", "cut"])}:
                yield file.relative_to(runs), kind, place
        yield file.relative_to(runs), "remove", 0
        yield file.relative_to(runs), "garbage", 0


def inflict(file: Path, kind: str, place: int) -> None:
    data = bytearray(file.read_bytes())
    file.chmod(0o600)
    if kind == "remove":
        file.unlink()
        return
    if kind == "garbage":
        data = bytearray(random.Random(len(data)).randbytes(len(data)))
    elif kind == "cut":
        del data[place:]
    elif data:
        data[place] ^= 1 << (place % 8)
    file.write_bytes(data)


def test_undamaged_nothing_runs(original: Path, apps: dict, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "runs")
    assert look(tmp_path / "runs", apps) == []


def test_damage_costs_what_it_hit(original: Path, apps: dict, tmp_path: Path) -> None:
    kinds = set()
    for number, (name, kind, place) in enumerate(damages(original)):
        runs = tmp_path / f"runs-{number}"
        shutil.copytree(original, runs)
        held = markers(runs / name, place if kind == "cut" else 0)
        inflict(runs / name, kind, place)
        again = look(runs, apps)
        where = (name, kind, place, again)
        assert len(again) == len(set(again)), where
        if name.suffix == ".seg":
            kinds.add("segment")
            # A cut or a missing file may cost all the records behind it, a flipped bit one.
            assert len(again) <= (1 if kind == "flip" else held + 1), where
        elif "blobs" in name.parts:
            kinds.add("blob")
            assert len(again) <= 1 and {app for app, _ in again} <= {"bulk"}, where
        else:
            kinds.add("other")
            assert again == [], where
        assert look(runs, apps) == [], (where, "computed again, and not kept")
        shutil.rmtree(runs)
    assert {"segment", "blob"} <= kinds


def markers(file: Path, start: int) -> int:
    """How many results have their bytes behind a place of a file."""
    data = file.read_bytes()[start:]
    return data.count(b"<text ") + data.count(b"<measure ") + data.count(b"bulk")


@pytest.mark.parametrize("run", ["000", "001", "002"])
def test_a_run_that_is_gone_is_computed_again(
    original: Path, apps: dict, tmp_path: Path, run: str
) -> None:
    shutil.copytree(original, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / run)
    again = look(tmp_path / "runs", apps)
    lost = {"000": 0, "001": COUNT, "002": 0}[run]
    assert len(again) <= 3 * max(lost, COUNT // 2)
    assert look(tmp_path / "runs", apps) == []


def test_a_directory_in_the_place_of_a_file_and_a_file_in_the_place_of_a_run(
    original: Path, apps: dict, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(original, runs)
    segment = next((runs / "000").rglob("*.seg"))
    segment.unlink()
    segment.mkdir()
    (runs / "007").write_text("not a run")
    (runs / "008").mkdir()
    (runs / "008" / "checkpoint").write_text("not a checkpoint")
    (runs / "notes.txt").write_text("mine")
    look(runs, apps)
    assert look(runs, apps) == []
    assert (runs / "009").is_dir()
