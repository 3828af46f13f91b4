"""Rows on the disk: what they take, what damage to them costs, and how room is made."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsl_ckpt.checkpoint import maintain
from parsl_ckpt.checkpoint.compact import PRUNED
from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.rows import DROPPED
from parsl_ckpt.errors import CheckpointError, StoreBusyError, StoreWriteError
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.restart import Checkpoint


@dataclasses.dataclass
class State:
    step: int = -1
    field: Any = None
    weights: Any = None


def field(step, size=6000):
    return np.random.default_rng(step).standard_normal(size)


WEIGHTS = np.arange(5000.0)


def write(path, steps, name="run", size=6000, **options):
    """Go on to a number of steps; each row's state tells which it is."""
    with Checkpoint(name, path, **options) as ckpt:
        state = ckpt.bind(State(weights=WEIGHTS))
        begun = ckpt.write_count
        for step in range(begun, steps):
            state.step, state.field = step, field(step, size)
            ckpt.write(step=step)
    return begun


def check(path, name="run", size=6000):
    """The row that is gone on from holds what was written then; how many steps it has done."""
    with Checkpoint(name, path, "append") as ckpt:
        if not ckpt.write_count:
            return 0
        state = ckpt.bind(State())
        assert state.checkpoint_state_loaded
        assert state.step == ckpt.write_count - 1 == ckpt.metadata["step"]
        assert state.field.tobytes() == field(state.step, size).tobytes()
        assert state.weights.tobytes() == WEIGHTS.tobytes()
        return ckpt.write_count


def size_of(path):
    files = [file for file in Path(path).rglob("*") if not file.name.startswith(".")]
    return sum(file.stat().st_size for file in files if file.is_file())


def files_of(path):
    return sorted(str(file.relative_to(path)) for file in Path(path).rglob("*") if file.is_file())


# --- what is stored -------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [600, 5000, 300_000])
def test_arrays_that_do_not_change_are_stored_once(tmp_path, length):
    array = np.arange(float(length))
    with Checkpoint("run", tmp_path, "append") as ckpt:
        state = ckpt.bind(State(weights=array))
        sizes = []
        for step in range(30):
            state.step = step
            ckpt.write(again=array if step % 2 else 0)
            sizes.append(size_of(tmp_path))
    assert sizes[-1] - sizes[2] < 28 * 1500  # rows, and no arrays
    assert sizes[2] < 3 * array.nbytes + 20_000
    with Checkpoint("run", tmp_path, "append") as ckpt:  # nor in another life
        state = ckpt.bind(State())
        before = size_of(tmp_path)
        ckpt.write()
        assert size_of(tmp_path) - before < 5000 + (array.nbytes if length < 5000 else 0)


def test_a_row_costs_the_same_at_any_length_of_the_history(tmp_path):
    with Checkpoint("run", tmp_path, "append", history_size=5) as ckpt:
        state = ckpt.bind(State())
        costs = []
        for step in range(300):
            state.step = step
            before = size_of(tmp_path)
            ckpt.write(step=step)
            costs.append(size_of(tmp_path) - before)
    assert max(costs[10:]) - min(costs[10:]) < 16


def test_only_so_many_rows_are_kept(tmp_path):
    write(tmp_path, 10, mode="append", history_size=4)
    catalog = Checkpoint("run", tmp_path).catalog
    assert [row.write_count for row in catalog] == [7, 8, 9, 10]
    write(tmp_path, 12, mode="overwrite")
    assert [row.write_count for row in Checkpoint("run", tmp_path).catalog] == [12]


# --- making room ----------------------------------------------------------------------------------


def test_room_comes_back_when_it_is_asked_for(tmp_path):
    write(tmp_path, 12, mode="append", history_size=2)
    write(tmp_path, 3, "other")
    checkpoint = Checkpoint("run", tmp_path, "append", history_size=2)
    before, catalog = size_of(tmp_path), checkpoint.catalog
    freed = checkpoint.prune()
    assert freed > 9 * 48_000 and size_of(tmp_path) < before - freed + 20_000
    assert checkpoint.catalog == catalog and len(Checkpoint("other", tmp_path).catalog) == 1
    assert check(tmp_path) == 12 and check(tmp_path, "other") == 3
    assert not [name for name in files_of(tmp_path) if name.startswith(".")]
    assert write(tmp_path, 14, mode="append") == 12 and check(tmp_path) == 14
    assert Checkpoint("nothing", tmp_path / "nowhere").prune() == 0


def test_tombstones_of_rows_go_with_the_rows(tmp_path):
    assert DROPPED == PRUNED
    write(tmp_path, 40, mode="append", history_size=2, size=10)
    Checkpoint("run", tmp_path).prune()
    [info] = maintain.runs(tmp_path)
    assert info.records == {"session": 2}


def test_room_can_be_made_in_the_middle_of_a_loop(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt:
        state = ckpt.bind(State(weights=WEIGHTS))
        for step in range(20):
            state.step, state.field = step, field(step)
            ckpt.write(step=step)
            if step % 5 == 4:
                ckpt.checkpoint.prune()
                assert size_of(tmp_path) < 3 * 48_000 + 40_000 + 30_000
    assert check(tmp_path) == 20


@pytest.mark.parametrize("options", [{}, {"mode": "append", "history_size": 2}])
def test_a_long_loop_does_not_fill_the_disk(tmp_path, monkeypatch, options):
    monkeypatch.setattr("parsl_ckpt.restart.checkpoint.ROOM_BYTES", 200_000)
    taken = []
    with Checkpoint("run", tmp_path, **options) as ckpt:
        state = ckpt.bind(State(weights=WEIGHTS))
        for step in range(40):
            state.step, state.field = step, field(step)
            ckpt.write(step=step)
            taken.append(size_of(tmp_path))
    assert max(taken) < 1_000_000
    assert check(tmp_path) == 40


@pytest.mark.parametrize("options", [{}, {"mode": "append", "history_size": 2}])
def test_a_session_that_is_opened_again_and_again_does_not_fill_its_directory(
    tmp_path, monkeypatch, options
):
    monkeypatch.setattr("parsl_ckpt.restart.checkpoint.ROOM_FILES", 8)
    files = []
    for step in range(30):
        with Checkpoint("run", tmp_path, **options) as ckpt:
            state = ckpt.bind(State(weights=WEIGHTS))
            state.step, state.field = step, field(step)
            ckpt.write(step=step)
        files.append(len(list(tmp_path.glob("*.seg"))))
    assert max(files) <= 10
    assert check(tmp_path) == 30


@pytest.mark.parametrize("left", [True, False])
def test_a_directory_that_is_removed_meanwhile_is_told_of(tmp_path, left):
    path = tmp_path / "rows"
    with contextlib.suppress(StoreWriteError), Checkpoint("run", path) as ckpt:
        ckpt.write(step=0)
        shutil.rmtree(path)
        if left:
            path.mkdir(0o700)
        for step in (1, 2):
            with pytest.raises(StoreWriteError, match="are not there any more"):
                ckpt.write(step=step)
        assert ckpt.write_count == 1
    with Checkpoint("run", path) as ckpt:
        assert ckpt.write_count == 0
        ckpt.write(step=0)
    assert len(Checkpoint("run", path).catalog) == 1


def test_where_others_write_no_room_is_made_and_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("parsl_ckpt.restart.checkpoint.ROOM_BYTES", 100_000)
    process = writer(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path, 15)
    process.communicate("\n", timeout=60)
    assert check(tmp_path) == 15 and size_of(tmp_path) > 14 * 48_000


WRITER = """
import sys
from parsl_ckpt.restart import Checkpoint
with Checkpoint("other", sys.argv[1], level=0) as ckpt:
    ckpt.write(x=b"x" * 100_000)
    print("written", flush=True)
    sys.stdin.readline()
    ckpt.write(x=b"x" * 100_000, y=b"y" * 100_000)
"""


def writer(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
    )  # fmt: skip
    assert process.stdout.readline() == "written\n"
    return process


def test_nobody_makes_room_while_another_process_writes(tmp_path):
    process = writer(tmp_path)
    try:
        write(tmp_path, 3)
        for make in (Checkpoint("run", tmp_path).prune, lambda: maintain.compact(tmp_path)):
            try:
                done = make()
            except StoreBusyError as error:
                assert str(process.pid) in str(error)
            else:
                assert "live" in str(done.left)
    finally:
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
    with Checkpoint("other", tmp_path, level=0) as ckpt:
        assert ckpt.metadata["x"] == b"x" * 100_000
    assert Checkpoint("run", tmp_path).prune() > 0


MAKING_ROOM = """
import sys
import numpy as np
from parsl_ckpt.errors import StoreBusyError
from parsl_ckpt.restart import Checkpoint

who, path = sys.argv[1:]
for life in range(12):
    checkpoint = Checkpoint("run", path, "append", level=0)
    with checkpoint.select(who=who) as ckpt:
        assert ckpt.write_count == 2 * life, (ckpt.write_count, life)
        for step in range(2):
            ckpt.write(x=np.full(5000, float(step)))
    try:
        checkpoint.prune()
    except StoreBusyError:
        pass
"""


def test_rows_are_seen_while_others_write_them_anew(tmp_path):
    path = os.pathsep.join(part for part in sys.path if part)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MAKING_ROOM, str(who), str(tmp_path / "rows")],
            env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True,
        )
        for who in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.communicate(timeout=100)[1] == ""
        assert process.returncode == 0
    catalog = Checkpoint("run", tmp_path / "rows").catalog
    for who in "012":
        rows = [row for row in catalog if row.labels == {"who": who}]
        assert [row.write_count for row in rows] == list(range(1, 25))
        assert [row.parent for row in rows] == [None, *(row.commit_id for row in rows[:-1])]


@pytest.mark.parametrize("text", ["", '{"pid": 4194305, "host": "elsewhere", "beat": 0}'])
def test_whoever_died_while_he_made_room_is_in_nobodys_way(tmp_path, text):
    tmp_path.joinpath(".maintenance").write_text(text)
    write(tmp_path, 3)
    assert check(tmp_path) == 3


def test_who_writes_waits_for_whoever_makes_room(tmp_path, monkeypatch):
    from parsl_ckpt.checkpoint import writers
    from parsl_ckpt.checkpoint.exclusive import alone

    pauses = []
    with alone(LocalBackend(), str(tmp_path)), monkeypatch.context() as patch:
        patch.setattr(writers.time, "monotonic", lambda: 300.0 * len(pauses))
        patch.setattr(writers.time, "sleep", pauses.append)
        with pytest.raises(StoreBusyError, match="making room"):
            write(tmp_path, 1)
    assert len(pauses) == 3
    write(tmp_path, 3)
    assert check(tmp_path) == 3


def test_a_writer_that_was_killed_is_in_nobodys_way(tmp_path):
    process = writer(tmp_path)
    assert [name for name in os.listdir(tmp_path) if name.startswith(".writer-")]
    process.kill()
    process.wait(60)
    write(tmp_path, 3)
    assert Checkpoint("run", tmp_path).prune() > 0
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_room_that_others_make_is_noticed(tmp_path):
    write(tmp_path, 6, mode="append")
    watching = Checkpoint("run", tmp_path, "append")
    entries = watching.catalog
    chosen = watching.select(4)
    write(tmp_path, 7, mode="append", history_size=3)
    assert Checkpoint("run", tmp_path).prune() > 3 * 48_000
    assert entries[5].metadata == {"step": 5}  # of the row, where it stands now
    with chosen as ckpt:
        assert ckpt.bind(State()).step == 4
    assert [row.write_count for row in watching.catalog] == [5, 6, 7]


def test_a_row_that_others_have_taken_away_is_no_damage(tmp_path):
    write(tmp_path, 3)
    watching = Checkpoint("run", tmp_path)
    session = watching.select()
    write(tmp_path, 5)
    assert Checkpoint("run", tmp_path).prune() > 2 * 48_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with session as ckpt:
            assert ckpt.write_count == 5 and ckpt.bind(State()).step == 4
    with pytest.raises(IndexError):
        watching.select(-2)


def test_the_tools_for_stores_know_sessions(tmp_path):
    write(tmp_path, 5, mode="append", history_size=2)
    report = maintain.verify(tmp_path)
    assert not report.damage and not report.lost
    maintain.compact(tmp_path)
    assert check(tmp_path) == 5 and not maintain.verify(tmp_path).lost
    for name in files_of(tmp_path):
        if name.startswith("blobs"):
            os.remove(tmp_path / name)
    assert maintain.verify(tmp_path).lost
    maintain.repair(tmp_path)
    assert not maintain.verify(tmp_path).lost


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A history of two lives, the second of which was not ended in order, and of another name."""
    path = tmp_path_factory.mktemp("history") / "rows"
    write(path, 2, mode="append")
    write(path, 2, "other", mode="append")
    path_of_the_open_one = path.parent / "open"
    checkpoint = Checkpoint("run", path, "append")
    with checkpoint as ckpt:
        state = ckpt.bind(State())
        for step in range(2, 4):
            state.step, state.field = step, field(step)
            ckpt.write(step=step)
        shutil.copytree(path, path_of_the_open_one)
    return path_of_the_open_one


def hurt(path, how, dice):
    data = bytearray(path.read_bytes())
    if how == "remove":
        path.unlink()
        return
    if how == "empty":
        data.clear()
    elif how == "cut":
        del data[dice.randrange(len(data)) :]
    elif how == "flip":
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif how == "zeros":
        at = dice.randrange(len(data))
        data[at : at + 200] = bytes(len(data[at : at + 200]))
    elif how == "noise":
        data += dice.randbytes(300)
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["remove", "empty", "cut", "flip", "zeros", "noise"])
def test_damage_to_any_file_costs_rows_and_never_gives_a_wrong_one(tmp_path, history, how):
    dice = random.Random(how)
    names = [name for name in files_of(history) if ".writer" not in name]
    assert len(names) >= 8
    for number, name in enumerate(names * (2 if how in ("flip", "cut", "zeros") else 1)):
        path = tmp_path / str(number)
        shutil.copytree(history, path)
        hurt(path / name, how, dice)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CheckpointWarning)
            found = check(path)
            other = check(path, "other")
            assert found <= 4 and other <= 2
            assert found == 4 or other == 2 or "blobs" in name  # one file, one loss
            write(path, 6, mode="append")  # and it goes on
            assert check(path) == 6
        shutil.rmtree(path)


def newest_blob(path, row):
    """The file of the field in a row."""
    from blake3 import blake3

    digest = blake3(field(row).tobytes()).hexdigest()
    return path / "blobs" / digest[:2] / digest


@pytest.mark.parametrize("how", ["remove", "cut", "flip"])
def test_a_damaged_newest_row_is_told_and_its_parent_is_taken(tmp_path, how):
    write(tmp_path, 4, mode="append")
    hurt(newest_blob(tmp_path, 3), how, random.Random(1))
    with pytest.warns(CheckpointWarning, match="newest row of 'run' is damaged"):
        assert check(tmp_path) == 3
    chosen = Checkpoint("run", tmp_path).select(3)
    with pytest.raises(CheckpointError, match="cannot be read"), chosen:
        pass
    with pytest.warns(CheckpointWarning):
        assert write(tmp_path, 5, mode="append") == 3
    assert chosen.__enter__().__exit__(None, None, None) is None  # the same blob was written again
    catalog = Checkpoint("run", tmp_path).catalog
    assert [row.write_count for row in catalog] == [1, 2, 3, 4, 4, 5]
    assert catalog[4].parent == catalog[2].commit_id


def test_a_damaged_row_is_not_replaced_by_one_of_other_labels(tmp_path):
    checkpoint = Checkpoint("run", tmp_path)
    for member in (0, 1):
        with checkpoint.select(member=member) as ckpt:
            state = ckpt.bind(State())
            for step in range(2):
                state.step, state.field = step, field(10 * member + step)
                ckpt.write()
    checkpoint.prune()
    newest_blob(tmp_path, 1).unlink()  # of member 0, of which there is no other row now
    with pytest.warns(CheckpointWarning), checkpoint.select(member=0) as ckpt:
        assert ckpt.write_count == 0 and not ckpt.exists and ckpt.labels == {"member": 0}
    with checkpoint.select(member=1) as ckpt:
        assert ckpt.write_count == 2


def test_what_is_carried_on_is_there(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt:
        ckpt.bind(State(0, field(0)))
        ckpt.write()
    with Checkpoint("run", tmp_path, level=1) as ckpt:
        with pytest.raises(StoreBusyError):  # not while it may be carried on
            Checkpoint("run", tmp_path).prune()
        newest_blob(tmp_path, 0).unlink()
        with pytest.raises(StoreWriteError, match="Bind all states"):
            ckpt.write()
        assert ckpt.write_count == 1


def test_a_row_that_was_dropped_is_better_than_none(tmp_path):
    write(tmp_path, 4)  # overwritten each time
    hurt(newest_blob(tmp_path, 3), "cut", random.Random(1))
    with pytest.warns(CheckpointWarning, match="damaged"):
        assert check(tmp_path) == 3


def test_a_row_of_which_the_record_is_damaged_is_told_as_well(tmp_path):
    write(tmp_path, 4)
    [segment] = tmp_path.glob("*.seg")
    data = bytearray(segment.read_bytes())
    at = data.rindex(b"test_history")
    data[at] ^= 1
    segment.write_bytes(data)
    with pytest.warns(CheckpointWarning, match="damaged"):
        assert check(tmp_path) == 3


def test_where_nothing_can_be_read_a_new_history_begins(tmp_path):
    write(tmp_path, 3)
    shutil.rmtree(tmp_path / "blobs")
    with pytest.warns(CheckpointWarning):
        assert check(tmp_path) == 0
    with pytest.warns(CheckpointWarning):
        assert write(tmp_path, 2, mode="append") == 0


def test_rows_in_an_order_that_no_clock_gives(tmp_path, monkeypatch):
    times = iter([10**18, 5, 10**17, 4])
    monkeypatch.setattr("parsl_ckpt.restart.history.time.time_ns", lambda: next(times))
    write(tmp_path, 2, mode="append")
    write(tmp_path, 4, mode="append")
    assert [row.write_count for row in Checkpoint("run", tmp_path).catalog] == [1, 2, 3, 4]


# --- ranks ----------------------------------------------------------------------------------------


def rank(path, number, steps, **options):
    return write(path, steps, mode="append", rank=number, world_size=2, **options)


def test_a_row_is_shown_when_every_rank_has_committed_it(tmp_path):
    rank(tmp_path, 0, 5)
    assert Checkpoint("run", tmp_path, rank=0, world_size=2).catalog == ()
    rank(tmp_path, 1, 3)
    for number in (0, 1):
        catalog = Checkpoint("run", tmp_path, rank=number, world_size=2).catalog
        assert [(row.rank, row.world_size, row.write_count) for row in catalog] == [
            (number, 2, count) for count in (1, 2, 3)
        ]
    assert [rank(tmp_path, number, 6) for number in (1, 0)] == [3, 3]


def test_rows_of_another_attempt_are_not_mixed_in(tmp_path):
    rank(tmp_path, 0, 2)
    rank(tmp_path, 1, 4)  # goes on alone, as far as it comes
    assert rank(tmp_path, 0, 4) == 2
    catalog = Checkpoint("run", tmp_path, rank=0, world_size=2).catalog
    # Rank 1 has done steps 3 and 4 too, but not after the restart of which rank 0 is part.
    assert [row.write_count for row in catalog] == [1, 2]
    assert rank(tmp_path, 1, 4) == 2
    assert len(Checkpoint("run", tmp_path, rank=0, world_size=2).catalog) == 4


def test_with_more_or_fewer_ranks_nothing_is_gone_on_from(tmp_path):
    rank(tmp_path, 0, 2)
    rank(tmp_path, 1, 2)
    with pytest.raises(CheckpointError, match="2 processes"), Checkpoint("run", tmp_path):
        pass


def test_a_row_that_one_rank_has_lost_is_gone_on_from_by_none(tmp_path):
    for number in (0, 1):
        with Checkpoint("run", tmp_path, "append", rank=number, world_size=2) as ckpt:
            state = ckpt.bind(State())
            for step in range(3):
                state.step, state.field = step, field(10 * number + step)
                ckpt.write(step=step)
    newest_blob(tmp_path, 12).unlink()  # of rank 1
    for number in (0, 1):
        mine = Checkpoint("run", tmp_path, "append", rank=number, world_size=2)
        with pytest.warns(CheckpointWarning, match="lacks a part"), mine as ckpt:
            assert ckpt.write_count == 2
    hurt(newest_blob(tmp_path, 1), "flip", random.Random(1))  # of rank 0, unseen by the other
    checkpoint = Checkpoint("run", tmp_path, "append", rank=0, world_size=2)
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match="in all ranks"):
        warnings.simplefilter("ignore")
        checkpoint.__enter__()
    with checkpoint.select(0) as ckpt:
        assert ckpt.write_count == 1
