"""Sessions: what a loop sees of them."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import os
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from parsl_ckpt.errors import (
    CheckpointError,
    CheckpointSerializationError,
    IncompleteRestore,
    StoreWriteError,
    UntrustedCheckpointError,
)
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.restart import (
    Checkpoint,
    CheckpointEntry,
    CheckpointSession,
    NullCheckpoint,
    bind_checkpoint_state,
    current,
)
from parsl_ckpt.restart.location import default_path, encoded


@dataclasses.dataclass
class Sum:
    value: int = 0


@dataclasses.dataclass
class Other:
    value: object = None


class Stop(Exception):
    pass


def work(path, steps, name="run", **options):
    with Checkpoint(name, path, **options) as ckpt:
        total = bind_checkpoint_state(Sum())
        for step in range(ckpt.write_count, steps):
            total.value += step
            ckpt.write(step=step)
        return total.value


def rows(path, name="run", **options):
    return Checkpoint(name, path, **options).catalog


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_a_loop_goes_on_where_it_ended(tmp_path, mode):
    assert work(tmp_path, 3, mode=mode) == 3
    assert work(tmp_path, 5, mode=mode) == 10
    assert len(rows(tmp_path)) == (1 if mode == "overwrite" else 5)


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", 3), ("name", None), ("mode", "w"), ("mode", None),
        ("flush_interval", 0), ("flush_interval", True), ("flush_interval", 1.5),
        ("flush_interval", "often"), ("history_size", 0), ("history_size", -1),
        ("history_size", True), ("history_size", "8"), ("level", 3), ("level", -1),
        ("level", True), ("level", False), ("level", 2.0), ("level", "2"), ("rank", -1),
        ("rank", True), ("path", 3), ("path", ""), ("path", "a\0"), ("world_size", 0),
        ("world_size", 1.0), ("on_exception", "keep"), ("on_exception", ["flush"]),
        ("flush_interval", np.float64(2)), ("level", np.True_), ("history_size", np.array([1, 2])),
        ("strict", None), ("strict", "no"), ("stop_on_signal", "no"), ("stop_on_signal", 1),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(tmp_path, field, value):
    given = {"name": "run", "path": tmp_path, field: value}
    with pytest.raises(ValueError, match=field):
        Checkpoint(**given)


def test_a_rank_is_less_than_their_number(tmp_path):
    with pytest.raises(ValueError, match="rank is 2, and world_size is 2"):
        Checkpoint("run", tmp_path, rank=2, world_size=2)


def test_what_flush_interval_can_be_is_told(tmp_path):
    with pytest.raises(ValueError, match='whole number of at least 1, or "auto" or None'):
        Checkpoint("run", tmp_path, flush_interval="often")


def test_numbers_of_numpy_are_numbers(tmp_path):
    two = np.int64(2)
    ckpt = Checkpoint(
        "run",
        tmp_path,
        flush_interval=two,
        history_size=two,
        level=two,
        rank=two,
        world_size=two + 1,
    )
    given = ckpt.flush_interval, ckpt.history_size, ckpt.level, ckpt.rank
    assert [(one, type(one)) for one in given] == [(2, int)] * 4


def test_what_cannot_be_in_two_processes_says_so_and_what_can_is_copied(tmp_path):
    ckpt = Checkpoint("run", tmp_path)
    with ckpt as session:
        session.write(step=1, u=np.arange(3))
        for one, named in ((ckpt, "A Checkpoint"), (session, "A CheckpointSession")):
            for move in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match=f"{named} cannot be copied, or sent"):
                    move(one)
        for entry in (pickle.loads(pickle.dumps(session.entry)), copy.deepcopy(session.entry)):
            assert entry == session.entry
            assert entry.metadata["step"] == 1
            assert entry.metadata["u"].tolist() == [0, 1, 2]
        assert dataclasses.asdict(session.entry)["metadata"]["step"] == 1


def test_a_checkpoint_that_is_taken_for_its_session_says_where_that_is(tmp_path):
    ckpt = Checkpoint("run", tmp_path)
    with ckpt, pytest.raises(AttributeError, match="no attribute 'write'; its session has"):
        ckpt.write()
    with pytest.raises(AttributeError, match="no attribute 'wriet'"):
        ckpt.wriet()


def test_a_row_is_chosen_by_a_number(tmp_path):
    for wrong in ("1", 1.0, True):
        with pytest.raises(TypeError, match="no number"):
            Checkpoint("run", tmp_path).select(wrong)


# --- where it is ----------------------------------------------------------------------------------


def test_without_a_path_it_is_in_the_cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("PARSL_CKPT_CACHE", str(tmp_path / "cache"))
    assert Checkpoint("a run").path == str(tmp_path / "cache" / "checkpoints" / "a%20run")
    monkeypatch.delenv("PARSL_CKPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert Checkpoint("a").path == str(tmp_path / "parsl_ckpt" / "checkpoints" / "a")


HOSTILE = ["../../etc", "/etc/passwd", "..", ".", "a/b", "a\0b", "ä" * 500, "x" * 5000, "con",
           "%2e", "\udc80", " ", "a\nb", "~", "-rf", "*"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_elsewhere(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PARSL_CKPT_CACHE", str(tmp_path))
    assert work(None, 2, name) == 1
    [folder] = os.listdir(tmp_path / "checkpoints")
    assert os.path.dirname(Checkpoint(name).path) == str(tmp_path / "checkpoints")
    assert Checkpoint(name).path.endswith(folder) and len(Checkpoint(name).catalog) == 1
    assert repr(Checkpoint(name)) and Checkpoint(name)._repr_html_()


def test_a_path_is_where_it_was_wherever_the_program_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARSL_CKPT_CACHE", "cache")
    for given, meant in (
        (None, "cache/checkpoints/run"), ("rows", "rows"), (f"file://{tmp_path}/a%20b", "a b"),
    ):  # fmt: skip
        ckpt = Checkpoint("run", given)
        assert ckpt.path == str(tmp_path / meant)
        monkeypatch.chdir("/")
        with ckpt as session:
            session.write()
        assert list((tmp_path / meant).glob("*.seg"))
        monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="path is 'simplecache::s3://b/y'"):
        Checkpoint("run", "simplecache::s3://b/y")


def test_no_two_names_are_one():
    names = [*HOSTILE, *(name + "x" for name in HOSTILE), "x" * 5001, "a%2fb", "a b", "a%20b"]
    assert len({encoded(name) for name in names}) == len(set(names))
    assert all(len(os.fsencode(encoded(name))) <= 255 for name in names)
    assert default_path("..").endswith("%2e%2e")


def test_sessions_of_two_names_share_a_directory(tmp_path):
    assert work(tmp_path, 3, "one") == work(tmp_path, 3, "two") == 3
    assert len(rows(tmp_path, "one")) == len(rows(tmp_path, "two")) == 1


def test_a_directory_that_others_can_write_to_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UntrustedCheckpointError):
        work(tmp_path / "open", 1)


# --- the catalog ----------------------------------------------------------------------------------


def test_a_row_says_what_it_is(tmp_path):
    before = dt.datetime.now(dt.timezone.utc)
    with Checkpoint("run", tmp_path, "append") as ckpt:
        ckpt.bind(Sum())
        first = ckpt.write(step=0, lead_time=dt.timedelta(hours=6))
        second = ckpt.write(note="x" * 9000, where=np.arange(3))
    checkpoint = Checkpoint("run", tmp_path)
    assert checkpoint.catalog == (first, second)
    one, two = checkpoint.catalog
    assert isinstance(one, CheckpointEntry)
    assert (one.parent, two.parent) == (None, one.commit_id)
    assert (one.write_count, two.write_count) == (1, 2)
    assert before - dt.timedelta(seconds=1) < one.saved_at < two.saved_at
    assert (one.rank, one.world_size, one.labels) == (0, 1, {})
    assert one.metadata_keys == ("step", "lead_time")
    assert one.metadata == {"step": 0, "lead_time": dt.timedelta(hours=6)}
    assert one.lead_time == dt.timedelta(hours=6)
    assert set(two.metadata_keys) == {"step", "lead_time", "note", "where"}
    assert two.metadata["where"].tolist() == [0, 1, 2] and two.metadata["note"] == "x" * 9000
    assert one.state_ids == (f"{__name__}.Sum",)
    with pytest.raises(KeyError):
        one.metadata["else"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.write_count = 3


def test_rows_are_chosen_from_either_end(tmp_path):
    work(tmp_path, 5, mode="append")
    checkpoint = Checkpoint("run", tmp_path, "append")
    assert [checkpoint.select(at).write_count for at in (0, 2, -1, -5)] == [1, 3, 5, 1]
    assert checkpoint.select(row=-2).write_count == 4
    for at in (5, -6):
        with pytest.raises(IndexError, match="5 rows"):
            checkpoint.select(at)
    with pytest.raises(IndexError, match="no rows"):
        Checkpoint("none", tmp_path).select(0)
    assert checkpoint.select(-2).metadata == {"step": 3} == dict(checkpoint.catalog[3].metadata)
    assert checkpoint.select(-1).exists and not Checkpoint("none", tmp_path).select().exists


def test_a_chosen_row_that_is_gone_on_from_forks_the_history(tmp_path):
    work(tmp_path, 4, mode="append")
    checkpoint = Checkpoint("run", tmp_path, "append")
    with checkpoint.select(1) as ckpt:
        total = bind_checkpoint_state(Sum())
        assert (ckpt.write_count, total.value) == (2, 1)
        total.value = 100
        fork = ckpt.write(step="other")
    catalog = checkpoint.catalog
    assert [row.write_count for row in catalog] == [1, 2, 3, 4, 3]
    assert fork == catalog[-1] and fork.parent == catalog[1].commit_id == catalog[2].parent
    assert work(tmp_path, 4, mode="append") == 103  # the newest row is gone on from


def test_labels_tell_histories_apart(tmp_path):
    checkpoint = Checkpoint("run", tmp_path)
    for member in (0, 1, True, "0"):
        with checkpoint.select(member=member, date=dt.date(2024, 1, 1)) as ckpt:
            assert ckpt.write_count == 0 and ckpt.labels["member"] is member
            total = bind_checkpoint_state(Sum())
            assert total.checkpoint_labels == ckpt.labels
            for _ in range(3):
                ckpt.write()
    assert [row.labels["member"] for row in checkpoint.catalog] == [0, 1, True, "0"]
    assert checkpoint.select(member=1).write_count == 3
    assert checkpoint.select(-1, date=dt.date(2024, 1, 1)).labels["member"] == "0"
    for wrong in (object(), "x" * 100_000, np.zeros(5000)):
        with pytest.raises(CheckpointSerializationError, match="The label 'member'"):
            checkpoint.select(member=wrong)


@pytest.mark.parametrize(
    ("label", "equal"),
    [(1, np.int64(1)), (np.int32(1), np.int64(1)), (0.5, np.float64(0.5)), ("a", np.str_("a"))],
)
def test_a_label_of_numpy_is_the_number_or_text_that_it_is(tmp_path, label, equal):
    for one, other in ((label, equal), (equal, label)):
        checkpoint = Checkpoint("run", tmp_path / str(type(one)))
        with checkpoint.select(member=one) as ckpt:
            ckpt.write()
        assert checkpoint.select(member=other).write_count == 1


def test_another_process_is_seen_when_one_looks(tmp_path):
    reader = Checkpoint("run", tmp_path, "append")
    assert reader.catalog == ()
    with Checkpoint("run", tmp_path, "append") as ckpt:
        ckpt.bind(Sum())
        for count in range(1, 4):
            ckpt.write()
            assert len(reader.catalog) == count


def test_the_catalog_is_a_table(tmp_path):
    checkpoint = Checkpoint("run", tmp_path, "append")
    assert "catalog: empty" in repr(checkpoint) and "catalog: empty" in checkpoint._repr_html_()
    with checkpoint.select(member="<b>&") as ckpt:
        ckpt.bind(Sum())
        ckpt.write(lead_time=dt.timedelta(hours=30), step=np.timedelta64(90, "m"))
    text, html = repr(checkpoint), checkpoint._repr_html_()
    for shown in ("Checkpoint('run')", "1 day 6 hours", "1 hour 30 minutes", "member", "ago"):
        assert shown in text
    assert [entry.labels["member"] for entry in checkpoint] == ["<b>&"]
    assert "<table>" in html and "&lt;b&gt;&amp;" in html and "<b>" not in html


def test_of_a_long_catalog_only_what_is_shown_is_read(tmp_path, monkeypatch):
    with Checkpoint("run", tmp_path, "append") as ckpt:
        for step in range(100):
            ckpt.write(step=step)
    checkpoint = Checkpoint("run", tmp_path)
    read = []
    full = checkpoint._history.full
    monkeypatch.setattr(checkpoint._history, "full", lambda row: read.append(row) or full(row))
    lines = repr(checkpoint).splitlines()
    assert [line.split()[0] for line in lines[4:]] == [
        *map(str, range(30)), "...", *map(str, range(70, 100))
    ]  # fmt: skip
    assert checkpoint._repr_html_().count("<tr>") == 1 + 30 + 1 + 30
    assert len(read) == 2 * 60


def test_a_table_is_shown_whatever_is_in_it(tmp_path):
    class Odd:
        pass

    from parsl_ckpt.checkpoint import registry

    registry.register_codec(Odd, lambda _: 1, lambda _: Odd(), name="tests.odd")
    try:
        with Checkpoint("run", tmp_path) as ckpt:
            ckpt.bind(Sum())
            ckpt.write(**{"odd key\n\x1b[31m": Odd(), "self": 1, "row": 2, "\udc80": 3})
    finally:
        registry._named.pop("tests.odd"), registry.registered.pop(Odd)
    text = repr(Checkpoint("run", tmp_path))
    assert "(unreadable)" in text and "\x1b" not in text
    assert len(text.splitlines()) == 3 + 1 + 1
    [row] = rows(tmp_path)
    assert (row.metadata["self"], row.metadata["row"], row.metadata["\udc80"]) == (1, 2, 3)


# --- writing --------------------------------------------------------------------------------------


def test_commits_are_made_when_they_are_due(tmp_path):
    with Checkpoint("run", tmp_path, "append", flush_interval=3) as ckpt:
        state = ckpt.bind(Sum())
        answers = []
        for step in range(7):
            answers.append((state.checkpoint_is_flush_due, ckpt.write(step=step)))
        assert [entry is not None for _, entry in answers] == [due for due, _ in answers]
        assert [entry.write_count for _, entry in answers if entry] == [3, 6]
    assert [row.write_count for row in rows(tmp_path)] == [3, 6, 7]


def test_without_an_interval_only_flush_commits(tmp_path):
    with Checkpoint("run", tmp_path, "append", flush_interval=None) as ckpt:
        state = ckpt.bind(Sum())
        for _ in range(5):
            assert ckpt.write() is None
        assert ckpt.flush(why="now").write_count == 5
        assert ckpt.flush() is None  # nothing has changed
        state.value = 9
        assert ckpt.flush().metadata == {"why": "now"}
    assert [row.write_count for row in rows(tmp_path)] == [5, 5]


def test_metadata_is_merged(tmp_path):
    with Checkpoint("run", tmp_path, "append") as ckpt:
        ckpt.bind(Sum())
        ckpt.write(a=1, b=[1])
        ckpt.write(b=2, c=3)
        assert dict(ckpt.metadata) == {"a": 1, "b": 2, "c": 3}
    with Checkpoint("run", tmp_path, "append") as ckpt:
        ckpt.bind(Sum())
        assert ckpt.metadata_value("b") == 2 and ckpt.metadata_value("z", None) is None
        with pytest.raises(KeyError):
            ckpt.metadata_value("z")
        assert ckpt.write(d=4).metadata == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_metadata_is_what_it_was_when_it_was_written(tmp_path):
    with Checkpoint("run", tmp_path, flush_interval=2) as ckpt:
        ckpt.bind(Sum())
        values, array = [1], np.zeros(5000)
        ckpt.write(values=values, array=array)
        values.append(2)
        array += 1
        entry = ckpt.write()
    assert entry.metadata["values"] == [1] and not entry.metadata["array"].any()


def test_an_error_takes_count_and_metadata_back(tmp_path):
    with Checkpoint("run", tmp_path, "append") as ckpt:
        other = ckpt.bind(Other(1))
        ckpt.write(step=0)
        before = ckpt.write_count, dict(ckpt.metadata), ckpt.commit_id
        with pytest.raises(CheckpointSerializationError, match="'key'") as caught:
            ckpt.write(step=1, key=object())
        assert caught.value.key == "key"
        other.value = {"deep": [object()]}
        for act in (ckpt.write, ckpt.flush):
            with pytest.raises(CheckpointSerializationError, match=r"Other.*'value'") as caught:
                act(step=1)
            assert caught.value.field == "value" and caught.value.state.endswith(".Other")
            assert (ckpt.write_count, dict(ckpt.metadata), ckpt.commit_id) == before
        other.value = 2
        assert ckpt.write(step=1).write_count == 2
    assert [row.metadata["step"] for row in rows(tmp_path)] == [0, 1]


def test_a_full_disk_takes_them_back_as_well(tmp_path, monkeypatch):
    from parsl_ckpt.checkpoint.local import LocalWriter

    with Checkpoint("run", tmp_path, "append") as ckpt:
        state = ckpt.bind(Other(1))
        ckpt.write(step=0)
        with monkeypatch.context() as patch:

            def full(*_):
                raise OSError(28, "No space left on device")

            patch.setattr(LocalWriter, "write", full)
            for value in (2, np.arange(100_000)):
                state.value = value
                with pytest.raises(StoreWriteError):
                    ckpt.write(step=1)
            assert (ckpt.write_count, dict(ckpt.metadata)) == (1, {"step": 0})
        assert ckpt.write(step=1).write_count == 2
    assert [row.write_count for row in rows(tmp_path)] == [1, 2]


def test_only_an_open_session_can_be_written_to(tmp_path):
    session = Checkpoint("run", tmp_path).select()
    for act in (session.write, session.flush, lambda: session.bind(Sum())):
        with pytest.raises(CheckpointError, match="not"):
            act()


# --- the context manager --------------------------------------------------------------------------


def test_a_session_is_entered_any_number_of_times(tmp_path):
    checkpoint = Checkpoint("run", tmp_path, flush_interval=10)
    assert checkpoint.active is None
    with checkpoint as outer:
        outer.bind(Sum())
        with checkpoint as inner, outer as again:
            assert inner is outer is again is checkpoint.active and inner.is_active
            inner.write()
        assert rows(tmp_path) == ()  # what is inside does not commit
        assert outer.is_active
    assert not outer.is_open and checkpoint.active is None
    assert [row.write_count for row in rows(tmp_path)] == [1]


def test_threads_enter_one_session_in_any_order(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt, ThreadPoolExecutor(2) as pool:
        ckpt.bind(Sum())
        entered, leave = threading.Event(), threading.Event()

        def stay():
            with ckpt:
                entered.set()
                leave.wait(30)
            return current.active.get()

        def pass_by():
            with ckpt:
                assert ckpt.is_active
            return current.active.get()

        stays = pool.submit(stay)
        entered.wait(30)
        assert pool.submit(pass_by).result() is None and ckpt.is_active
        leave.set()
        assert stays.result() is None and ckpt.is_active


def test_an_interrupt_while_a_session_ends_leaves_nothing_open(tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    checkpoint = Checkpoint("run", tmp_path)
    with pytest.raises(KeyboardInterrupt), checkpoint as ckpt:
        ckpt.write()
        assert list(tmp_path.glob(".writer-*"))
        monkeypatch.setattr(ckpt._pace, "close", interrupt)
    assert checkpoint.active is None and not list(tmp_path.glob(".writer-*"))
    with checkpoint as ckpt:
        assert ckpt.write_count == 1


def test_one_checkpoint_inside_another(tmp_path):
    with Checkpoint("a", tmp_path) as a:
        with Checkpoint("b", tmp_path) as b:
            state = bind_checkpoint_state(Sum())
            assert b.is_active and not a.is_active and list(b.bound_states.values()) == [state]
        assert a.is_active and not a.bound_states


@pytest.mark.parametrize("choice", ["discard", "flush"])
def test_what_becomes_of_pending_steps_after_an_exception(tmp_path, choice):
    checkpoint = Checkpoint("run", tmp_path, flush_interval=5, on_exception=choice)
    with pytest.raises(Stop), checkpoint as ckpt:
        ckpt.bind(Sum())
        for step in range(7):
            ckpt.write(step=step)
        raise Stop
    assert [row.write_count for row in rows(tmp_path)] == [5 if choice == "discard" else 7]


def test_what_cannot_be_saved_after_an_exception_does_not_hide_it(tmp_path):
    checkpoint = Checkpoint("run", tmp_path, flush_interval=5, on_exception="flush")
    told = pytest.warns(CheckpointWarning, match="not saved")
    with told, pytest.raises(Stop), checkpoint as ckpt:
        ckpt.bind(Other(object()))
        ckpt.write()
        raise Stop


def test_one_checkpoint_is_opened_again_and_again(tmp_path):
    checkpoint = Checkpoint("run", tmp_path, "append", flush_interval=2)
    for count in range(1, 5):
        with checkpoint as ckpt:
            total = ckpt.bind(Sum())
            assert (ckpt.write_count, total.value) == (count - 1, count - 1)
            total.value += 1
            ckpt.write()
    with checkpoint.select(0) as ckpt:
        assert ckpt.write_count == 1
        ckpt.bind(Sum())
        with pytest.raises(Stop), ckpt:
            ckpt.write()
            raise Stop
        assert ckpt.write_count == 2
    assert repr(ckpt).startswith("<CheckpointSession of 'run', not open")


def test_what_cannot_be_written_to_can_be_looked_at(tmp_path):
    work(tmp_path, 3)
    (tmp_path / "file").write_text("")
    below = Checkpoint("run", tmp_path / "file" / "below")
    with pytest.warns(CheckpointWarning, match="below cannot be read"), below as ckpt:
        ckpt.bind(Sum())
        with pytest.raises(StoreWriteError, match="below"):
            ckpt.write()
    assert len(rows(tmp_path)) == 1


def test_nothing_is_written_by_who_only_looks(tmp_path):
    path = tmp_path / "none"
    checkpoint = Checkpoint("run", path)
    checkpoint.refresh()
    assert checkpoint.catalog == () and repr(checkpoint)
    with checkpoint as ckpt:
        ckpt.bind(Sum())
    assert not path.exists()


# --- what has to be restored ----------------------------------------------------------------------


def test_a_loop_cannot_go_on_with_fresh_state(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt:
        ckpt.bind(Sum(5))
        ckpt.bind(Other(6))
        ckpt.write()
    with Checkpoint("run", tmp_path) as ckpt:
        for bind in (lambda: None, lambda: ckpt.bind(Sum())):
            bind()
            for act in (ckpt.write, ckpt.flush):
                with pytest.raises(IncompleteRestore, match="Other") as caught:
                    act()
        assert caught.value.missing == (f"{__name__}.Other",)
        assert ckpt.write_count == 1
        ckpt.bind(Other())
        assert ckpt.write().write_count == 2


def test_a_row_without_states_is_not_gone_on_from(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt:
        ckpt.write()
    with Checkpoint("run", tmp_path) as ckpt:
        ckpt.bind(Sum())
        with pytest.raises(IncompleteRestore, match="no state"):
            ckpt.write()
    with Checkpoint("run", tmp_path, strict=False) as ckpt:
        assert ckpt.write().write_count == 2
    with Checkpoint("run", tmp_path, level=0) as ckpt:
        assert ckpt.write().write_count == 3


def test_states_that_are_not_bound_are_carried_on(tmp_path):
    weights = np.arange(20_000.0)
    with Checkpoint("run", tmp_path, "append") as ckpt:
        ckpt.bind(Sum(1))
        ckpt.bind(Other({"w": weights, "small": np.arange(700)}))
        ckpt.write(kept=np.arange(9000))
    blobs = sum(len(files) for _, _, files in os.walk(tmp_path / "blobs"))
    for value in range(2, 5):
        with Checkpoint("run", tmp_path, "append", level=1) as ckpt:
            ckpt.bind(Sum()).value = value
            ckpt.write()
    assert sum(len(files) for _, _, files in os.walk(tmp_path / "blobs")) == blobs
    with Checkpoint("run", tmp_path, "append") as ckpt:
        back = ckpt.bind(Other()).value
        assert back["w"].tolist() == weights.tolist() and back["small"].sum() == 699 * 350
        assert ckpt.bind(Sum()).value == 4
        assert ckpt.metadata["kept"].tolist() == list(range(9000))


def test_level_0_saves_progress_and_no_states(tmp_path):
    with Checkpoint("run", tmp_path, level=0) as ckpt:
        state = bind_checkpoint_state(Sum(3))
        assert state.checkpoint_level == 0
        assert ckpt.write(step=1).state_ids == ()
    with Checkpoint("run", tmp_path, level=0) as ckpt:
        assert bind_checkpoint_state(Sum()).value == 0 and ckpt.metadata["step"] == 1


def member(path, steps, level):
    """An item whose random numbers are drawn at its beginning: what a component does by level."""

    @dataclasses.dataclass
    class Draw:
        rng: np.random.Generator
        noise: object = None

    with Checkpoint("member", path, level=level) as ckpt:
        draw = bind_checkpoint_state(Draw(np.random.default_rng(1)))
        if draw.checkpoint_level >= 2 and draw.checkpoint_state_loaded:
            noise = draw.noise  # go on inside of it
        elif draw.checkpoint_level == 1:
            # The state before the draw, so that the item can be begun again.
            before = draw.rng.bit_generator.state
            noise = draw.rng.standard_normal(3)
            draw.rng.bit_generator.state = before
        else:
            noise = draw.noise = draw.rng.standard_normal(3)
        ckpt.write()
        assert steps
        return noise.tolist()


@pytest.mark.parametrize("level", [1, 2])
def test_by_level_an_item_is_begun_again_or_gone_on_with(tmp_path, level):
    assert member(tmp_path, 1, level) == member(tmp_path, 1, level)


# --- no checkpoint --------------------------------------------------------------------------------


def test_a_null_checkpoint_does_nothing_and_takes_everything(tmp_path):
    with NullCheckpoint("any", path=tmp_path, level=9) as ckpt:
        assert not ckpt and ckpt.write(x=object()) is None and ckpt.flush(1, y=2) is None
        state = ckpt.bind(Sum(3))
        assert state.value == 3 and not state.checkpoint_enabled
        assert (ckpt.write_count, ckpt.exists, ckpt.is_active, ckpt.commit_id) == (
            0,
            False,
            False,
            None,
        )
        assert ckpt.labels == {} and ckpt.metadata == {} and ckpt.bound_states == {}
        assert ckpt.metadata_value("x") is None and ckpt.device == "cpu" and ckpt.catalog == ()
        assert ckpt.select(-1, member=3) is ckpt and ckpt.refresh() is None
        with ckpt.context():
            assert ckpt.context().run(max, 1, 2) == 2
    assert os.listdir(tmp_path) == []
    session = {name for name in dir(CheckpointSession) if not name.startswith("_")}
    checkpoint = {name for name in dir(Checkpoint) if not name.startswith("_")}
    assert session | checkpoint <= set(dir(NullCheckpoint))


def test_no_warning_is_given_in_the_ordinary_course(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        work(tmp_path, 3)
        work(tmp_path, 6)
