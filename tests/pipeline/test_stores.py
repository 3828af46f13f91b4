"""What keeps the progress of runs: the same for all stores, then what is special to one."""

from __future__ import annotations

import itertools
import json
import os
import random
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import maintain
from parsl_ckpt.checkpoint.format import Run
from parsl_ckpt.checkpoint.memory import MemoryBackend
from parsl_ckpt.errors import (
    CheckpointDamagedError,
    RunClaimedError,
    StoreClosedError,
)
from parsl_ckpt.pipeline import (
    CheckpointState,
    CheckpointStore,
    LocalCheckpointStore,
    MemoryCheckpointStore,
    RunStore,
)
from parsl_ckpt.pipeline.local_store import encoded
from parsl_ckpt.pipeline.run_store import changed, difference, fold
from parsl_ckpt.pipeline.states import from_mapping, to_mapping
from parsl_ckpt.testing.faults import Die, Died, FaultyBackend

ODD = ["..", ".", "../../etc/passwd", "/abs", "a/b", "a\\b", "", " ", "Run", "run", "é", "e\u0301",
       "x" * 300, "nul\0nul", "new\nline", "\udcff", "a~b", "CON", "-rf", ".hidden"]  # fmt: skip


def state(run_id="run-001", pipeline="etl", done=("extract",), **rest):
    return CheckpointState(run_id, pipeline, "f00d", list(done), **rest)


@pytest.fixture(params=["memory", "local", "run"])
def store(request, tmp_path, kernel):
    if request.param == "memory":
        return MemoryCheckpointStore()
    if request.param == "local":
        return LocalCheckpointStore(tmp_path / "checkpoints")
    return RunStore(kernel(run_dir=str(tmp_path / "runs")))


def test_what_is_saved_is_loaded(store):
    full = CheckpointState(
        "run-001", "etl", "f00d", ["extract", "clean"], "load", "failed", "2026-01-01",
        "2026-01-02", "token", {"extract": "ab12"},
        {"extract": ("m.E", ()), "load": ("m.L", ("extract",))},
        {"colour": ["red"]},
    )  # fmt: skip
    store.save(full)
    assert store.load("run-001", "etl") == full


def test_the_last_one_counts(store):
    store.save(state(done=[]))
    store.save(state(done=["extract"], failed_component="clean"))
    store.save(state(done=["extract", "clean"], status="completed"))
    found = store.load("run-001", "etl")
    assert (found.completed_components, found.status) == (["extract", "clean"], "completed")
    assert found.failed_component is None
    store.save(state(done=[]))  # begun anew
    assert store.load("run-001", "etl").completed_components == []


def test_a_run_is_known_by_its_id_and_its_pipeline(store):
    store.save(state(done=["a"]))
    store.save(state("run-002", done=["b"]))
    store.save(state(pipeline="other", done=["c"]))
    assert store.load("run-001", "etl").completed_components == ["a"]
    assert store.load("run-002", "etl").completed_components == ["b"]
    assert store.load("run-001", "other").completed_components == ["c"]
    assert store.load("run-002", "other") is None
    assert len(store.states()) == 3


def test_what_was_never_saved_or_is_deleted_is_not_there(store):
    assert store.load("run-001", "etl") is None
    assert not store.exists("run-001", "etl")
    store.delete("run-001", "etl")
    store.save(state())
    assert store.exists("run-001", "etl")
    store.delete("run-001", "etl")
    assert not store.exists("run-001", "etl")
    assert store.load("run-001", "etl") is None
    store.save(state(done=[]))
    assert store.load("run-001", "etl").completed_components == []


def test_what_is_loaded_is_a_copy(store):
    mine = state()
    store.save(mine)
    mine.completed_components.append("sneaked in")
    store.load("run-001", "etl").completed_components.append("so too")
    assert store.load("run-001", "etl").completed_components == ["extract"]


def test_any_name_is_a_name(store):
    names = [name for name in ODD if name]
    for number, name in enumerate(names):
        store.save(state(name, "etl", [f"a{number}"]))
        store.save(state("run", name, [f"b{number}"]))
    for number, name in enumerate(names):
        assert store.load(name, "etl").completed_components == [f"a{number}"]
        assert store.load("run", name).completed_components == [f"b{number}"]


def test_it_is_a_checkpoint_store(store):
    assert isinstance(store, CheckpointStore)


def test_the_second_runner_of_an_id_is_refused_and_that_of_another_is_not(store):
    with store.claim("run-001", "etl"):
        told = r"'run-001' of pipeline 'etl' is being run by"
        with pytest.raises(RunClaimedError, match=told), store.claim("run-001", "etl"):
            pass
        with store.claim("run-001", "other"), store.claim("run-002", "etl"):
            pass
        with store.claim("run-001-2", "etl"), store.claim("run", "etl"):
            pass
    with store.claim("run-001", "etl"):
        pass


# -- states ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("run_id", ""), ("pipeline_name", ""), ("pipeline_fingerprint", ""), ("status", "lost")],
)
def test_a_state_that_cannot_be_is_refused(field, value):
    given = {"run_id": "r", "pipeline_name": "p", "pipeline_fingerprint": "f", field: value}
    with pytest.raises(ValueError, match=field):
        CheckpointState(**given)


names = st.text(min_size=1, max_size=5)
texts = st.text(max_size=5)
any_state = st.builds(
    CheckpointState,
    names, names, names,
    st.lists(names, max_size=4, unique=True), st.none() | names,
    st.sampled_from(["in_progress", "completed", "failed"]), texts, texts, texts,
    st.dictionaries(names, texts, max_size=3),
    st.dictionaries(names, st.tuples(texts, st.lists(names, max_size=2).map(tuple)), max_size=3),
    st.dictionaries(st.text("xyz", min_size=1), st.integers() | texts, max_size=2),
)  # fmt: skip


@given(any_state)
def test_a_state_survives_the_way_through_json(one):
    assert from_mapping(json.loads(json.dumps(to_mapping(one)))) == one


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(any_state, st.sampled_from(list(to_mapping(state()))), json_like)
def test_a_field_of_any_other_form_is_refused_and_never_breaks(one, field, value):
    try:
        found = from_mapping({**to_mapping(one), field: value})
    except ValueError:
        return
    assert to_mapping(found)[field] == value


# -- files -------------------------------------------------------------------------------------


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_name_becomes_one_name_of_a_file_and_no_other(one, other):
    for name in (one, other):
        made = encoded(name)
        assert made
        assert not set(made) & set("/\\\0")
        assert not made.startswith(".")
        assert len(made.encode()) < 150
    assert (encoded(one).lower() == encoded(other).lower()) == (one == other)


def test_odd_names_stay_within_the_directory(tmp_path):
    base = tmp_path / "in" / "checkpoints"
    store = LocalCheckpointStore(base)
    for name in filter(None, ODD):
        store.save(state(name, name))
        assert base in store.path_of(name, name).resolve().parents
    outside = [path for path in tmp_path.rglob("*") if base not in path.parents and path != base]
    assert outside == [tmp_path / "in"]


def test_a_file_is_json_that_people_can_read_and_belongs_to_its_owner(tmp_path):
    store = LocalCheckpointStore(tmp_path / "checkpoints")
    store.save(state())
    path = tmp_path / "checkpoints" / "etl" / "run-001.json"
    text = path.read_text()
    assert json.loads(text)["completed_components"] == ["extract"]
    assert text.startswith('{\n  "run_id": "run-001",\n  "pipeline_name": "etl",\n')
    assert '\n  "completed_components": ["extract"],\n' in text and text.endswith("\n}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["run-001.json"]  # nothing is left of the way there


def test_a_relative_directory_stays_where_it_was(tmp_path, monkeypatch):
    store = LocalCheckpointStore("checkpoints")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # as a component may
    store.save(state())
    assert (tmp_path / "checkpoints" / "etl" / "run-001.json").exists()
    assert [one.run_id for one in store.states()] == ["run-001"]


def test_unknown_fields_are_tolerated_and_kept(tmp_path):
    store = LocalCheckpointStore(tmp_path)
    store.save(state())
    path = store.path_of("run-001", "etl")
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    found = store.load("run-001", "etl")
    store.save(found)
    assert json.loads(path.read_text())["colour"] == "red"


def test_fields_that_are_not_there_have_their_defaults(tmp_path):
    store = LocalCheckpointStore(tmp_path)
    path = store.path_of("r", "p")
    path.parent.mkdir()
    path.write_text('{"run_id": "r", "pipeline_name": "p", "pipeline_fingerprint": "f"}')
    found = store.load("r", "p")
    assert (found.completed_components, found.status, found.token) == ([], "in_progress", "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON after line 1, column 1"),
        (b'{"run_id": "run-001",\n "pipe', "no JSON after line 2"),
        (b"\xff\xfe\x00", "no text"),
        (b"[]", "no mapping"),
        (b"{}", "no field 'run_id'"),
        (b"[" * 100_000, ""),
        (b'{"run_id": 3, "pipeline_name": "etl", "pipeline_fingerprint": "f"}', "run_id is 3"),
    ],
)
def test_a_torn_file_is_reported_with_what_can_be_done(tmp_path, content, why):
    store = LocalCheckpointStore(tmp_path)
    store.save(state())
    path = store.path_of("run-001", "etl")
    path.write_bytes(content)
    with pytest.raises(CheckpointDamagedError) as caught:
        store.load("run-001", "etl")
    assert str(path) in str(caught.value)
    assert why in str(caught.value)
    assert "put a copy of it back; or remove it" in str(caught.value)
    assert store.states() == []
    store.save(state(done=[]))  # a fresh run takes its place
    assert store.load("run-001", "etl").completed_components == []


def test_every_cut_of_a_file_is_reported_and_none_is_taken_for_a_state(tmp_path):
    store = LocalCheckpointStore(tmp_path)
    store.save(state())
    path = store.path_of("run-001", "etl")
    whole = path.read_bytes().rstrip()
    for length in random.Random(0).sample(range(len(whole)), 20):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointDamagedError):
            store.load("run-001", "etl")


def test_a_file_of_another_run_is_not_taken_for_ones_own(tmp_path):
    store = LocalCheckpointStore(tmp_path)
    store.save(state("run-002"))
    store.path_of("run-002", "etl").rename(store.path_of("run-001", "etl"))
    with pytest.raises(CheckpointDamagedError, match="it is of run 'run-002'"):
        store.load("run-001", "etl")


def test_what_cannot_be_written_leaves_what_was(tmp_path, monkeypatch):
    store = LocalCheckpointStore(tmp_path)
    store.save(state())

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(state(done=[]))
    monkeypatch.undo()
    assert store.load("run-001", "etl").completed_components == ["extract"]
    assert os.listdir(tmp_path / "etl") == ["run-001.json"]


@pytest.mark.parametrize("power", [False, True])
def test_whenever_it_dies_the_file_holds_one_state_or_the_other(power):
    old, new = state(), state(done=["extract", "clean"])
    died = 0
    for number, part in itertools.product(range(1, 9), (0.0, 0.5, 1.0)):
        for seed in range(4 if power else 1):
            disk = FaultyBackend(MemoryBackend())
            disk.make_directory("/", durable=True)
            store = LocalCheckpointStore("/checkpoints")
            store._backend = disk
            store.save(old)
            count = itertools.count(1)
            disk.faults = lambda _, n=number, p=part, c=count: Die(p) if next(c) == n else None
            expected = [new]
            try:
                store.save(new)
            except Died:
                died += 1
                expected = [old, new]
            disk.faults = None
            if power:
                disk.power_cut(random.Random(seed) if seed else None)
            later = LocalCheckpointStore("/checkpoints")
            later._backend = disk.inner
            assert later.load("run-001", "etl") in expected
            assert later.exists("run-001", "etl")
    assert died > 10


def test_it_is_synced_file_before_name(tmp_path, monkeypatch):
    from parsl_ckpt.checkpoint import local

    done = []
    for name in ("_sync", "os.replace", "os.fsync"):
        where, _, what = name.rpartition(".")
        target = local.os if where else local
        real = getattr(target, what)
        monkeypatch.setattr(
            target, what, lambda *args, real=real, name=name: (done.append(name), real(*args))[1]
        )
    store = LocalCheckpointStore(tmp_path)
    (tmp_path / "etl").mkdir()
    store.save(state())
    assert done == ["_sync", "os.replace", "os.fsync"]


# -- records -----------------------------------------------------------------------------------


def test_a_later_kernel_finds_what_an_earlier_one_recorded(kernel, tmp_path):
    first = kernel()
    RunStore(first).save(state())
    assert RunStore(kernel()).load("run-001", "etl") == state()  # even while that is alive
    first.cleanup()
    later = RunStore(kernel())
    later.save(state(done=["extract", "clean"]))
    RunStore(kernel()).save(state(done=["extract", "clean", "load"]))
    assert len(later.load("run-001", "etl").completed_components) == 3
    assert len(later.states()) == 1


def test_it_can_be_read_without_a_kernel(kernel, tmp_path):
    dfk = kernel(run_dir=str(tmp_path / "runs"))
    RunStore(dfk).save(state())
    reader = RunStore.at(tmp_path / "runs")
    assert reader.load("run-001", "etl") == state()
    with pytest.raises(StoreClosedError, match="without a kernel"):
        reader.save(state())
    assert RunStore.at(tmp_path / "nothing").states() == []


def test_a_kernel_that_has_ended_records_nothing_more(kernel):
    dfk = kernel()
    store = RunStore(dfk)
    dfk.cleanup()
    with pytest.raises(pc.ParslCkptError):
        store.save(state())


def test_a_component_costs_its_own_name_and_not_that_of_all(kernel):
    dfk = kernel()
    store = RunStore(dfk)
    done = [f"component-{number:04d}" for number in range(60)]
    for number in range(len(done) + 1):
        store.save(state(done=done[:number], values=dict.fromkeys(done[:number], "ab" * 32)))
    assert store.load("run-001", "etl").completed_components == done
    sizes = [len(record.data["change"]) for _, record in dfk.kernel.store.runs()
             if record.event == "pipeline"]  # fmt: skip
    assert max(sizes) < 500
    assert len(sizes) == 61


@given(any_state, any_state)
def test_a_change_leads_from_one_state_to_the_other(one, other):
    before, now = to_mapping(one), to_mapping(other)
    assert changed(before, difference(before, now)) == {**before, **now}


@given(st.lists(any_state, min_size=1, max_size=5), st.randoms())
def test_records_may_come_in_any_order(states, chance):
    for one in states:
        one.run_id, one.pipeline_name, one.extra = "r", "p", {}
    records, before = [], None
    for at, one in enumerate(states):
        now = to_mapping(one)
        change = {"state": now} if before is None else difference(before, now)
        records.append(
            Run("pipeline", {"of": '["p", "r"]', "at": at, "change": json.dumps(change)})
        )
        before = now
    records += [Run("begin", {}), Run("pipeline", {"of": 3}), Run("other", records[0].data)]
    records += [Run("pipeline", {**records[0].data, "at": 99, "change": bad})
                for bad in ("", "[]", '{"set": 1}', '{"state": 3}')]  # fmt: skip
    records += [Run("pipeline", {**records[0].data, "of": bad}) for bad in ("", "[]", "[1, 2]")]
    chance.shuffle(records)
    found = fold(records)
    assert list(found) == [("r", "p")]
    assert from_mapping(found["r", "p"][1]) == states[-1]


def test_progress_survives_compacting_and_pruning_of_results(kernel, tmp_path):
    runs = str(tmp_path / "runs")
    done = []
    for name in ("extract", "clean", "load"):
        dfk = kernel(run_dir=runs)
        done.append(name)
        store = RunStore(dfk)
        store.save(state(done=done, failed_component="next"))
        store.save(state(done=done))
        dfk.cleanup()
    maintain.compact(runs)
    maintain.prune(runs, older_than=0.0)
    assert RunStore.at(runs).load("run-001", "etl") == state(done=done)


def test_it_works_in_an_object_store(kernel):
    pytest.importorskip("fsspec")
    url = f"memory://pipelines-{os.getpid()}/runs"
    dfk = kernel(run_dir=url)
    store = RunStore(dfk)
    store.save(state(done=[]))
    store.save(state())
    again = pytest.raises(RunClaimedError)
    with store.claim("run-001", "etl"), again, store.claim("run-001", "etl"):
        pass
    dfk.cleanup()
    later = RunStore(kernel(run_dir=url))
    assert later.load("run-001", "etl") == state()
    with later.claim("run-001", "etl"):
        pass


def test_claims_of_other_pipelines_are_not_in_the_way_however_they_are_called(store):
    with store.claim("b c", "a"), store.claim("c", "a b"), store.claim("c", "a/b"):
        pass
