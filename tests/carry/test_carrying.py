"""What Parsl had recorded becomes a run here, is found by calls, and can go back."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import LocalBackend, Store, carrying, maintain, returning
from parsl_ckpt.checkpoint.carrying import foreign_key, import_parsl
from parsl_ckpt.checkpoint.exclusive import alone
from parsl_ckpt.checkpoint.returning import export_parsl
from parsl_ckpt.cli import main
from parsl_ckpt.errors import (
    ArchiveError,
    CheckpointNotFoundError,
    RemoteStoreError,
    StoreBusyError,
    StoreWriteError,
    UntrustedCheckpointError,
)
from parsl_ckpt.identity.parsl_key import PROTOCOL, ParslApp

RAN: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def plain(x, y=2):
    RAN.append((x, y))
    return x * y


app = pc.python_app(plain, cache=True, code="function")


def key_of(*args: Any, **kwargs: Any) -> str:
    known = ParslApp.of(plain)
    assert known is not None
    key = known.key(args, kwargs)
    assert key is not None
    return key.hex()


def record(key: str, value: Any, protocol: int = PROTOCOL) -> bytes:
    return pickle.dumps({"hash": key, "exception": None, "result": value}, protocol)


def written(place: Path, *records: bytes, run: str = "000") -> Path:
    """A run directory as Parsl leaves it."""
    directory = place / run / "checkpoint"
    directory.mkdir(parents=True)
    for made in (place, place / run, directory):
        made.chmod(0o755)  # as Parsl's are under most umasks
    path = directory / "tasks.pkl"
    path.write_bytes(b"".join(records))
    path.chmod(0o644)
    return path


def config(runs: Path, **options: Any) -> pc.Config:
    return pc.Config(**{"run_dir": runs, "checkpoint_mode": "task_exit", **options})


# --- in -------------------------------------------------------------------------------------------


def test_a_call_finds_what_parsl_had_recorded_and_files_it_here(runs: Path) -> None:
    path = written(runs, record(key_of(21), 42), record(key_of(1, y=3), "kept"))
    done = import_parsl(runs, [runs])  # Parsl's run directory may be ours as well
    assert (done.run, done.records, done.skipped) == ("001", 2, {})
    with pc.load(config(runs)) as dfk:
        futures = [app(21), app(1, y=3), app(2)]
        assert [future.result() for future in futures] == [42, "kept", 4]
        assert [future.from_memo for future in futures] == [True, True, False]
        assert dfk.counts()["memo_done"] == 2
    assert RAN == [(2, 2)]
    path.unlink()
    maintain.prune(runs, apps=[carrying.PARSL], older_than=0.0)
    with pc.load(config(runs)) as dfk:
        assert [app(21).result(), app(1, 3).result(), app(x=2).result()] == [42, "kept", 4]
    assert RAN == [(2, 2)]  # found under the keys that they have here, however they are written


def test_what_is_computed_from_it_is_found_too(runs: Path) -> None:
    written(runs / "parsl", record(key_of(3), 6), record(key_of(6), 12))
    import_parsl(runs, [runs / "parsl"])
    for _ in range(2):
        with pc.load(config(runs)):
            assert app(app(3)).result() == 12
    assert RAN == []


def test_the_last_of_several_records_counts(runs: Path) -> None:
    written(runs / "parsl", record(key_of(1), "first"), record(key_of(1), "second"))
    written(runs / "parsl", record(key_of(1), "third"), run="010")
    written(runs / "parsl", record(key_of(1), "not this"), run="009")
    import_parsl(runs, [runs / "parsl"])
    with pc.load(config(runs)):
        assert app(1).result() == "third"


@pytest.mark.parametrize("protocol", [4, 5])
def test_keys_of_every_python_are_found(protocol: int, runs: Path) -> None:
    known = ParslApp.of(plain)
    assert known is not None
    key = known.key((5,), {}, (), protocol)
    assert key is not None
    written(runs / "parsl", record(key.hex(), "found", protocol))
    import_parsl(runs, [runs / "parsl"])
    with pc.load(config(runs)) as dfk:
        assert app(5).result() == "found"
        assert carrying.carried_protocols(dfk.kernel.store) == (protocol,)


def test_values_are_loaded_when_they_are_asked_for(runs: Path) -> None:
    """Taking over a bomb does nothing; neither does finding another record."""
    written(runs / "parsl", record(key_of(1), Bomb()), record(key_of(2), b"x" * 3_000_000))
    done = import_parsl(runs, [runs / "parsl"])
    assert done.records == 2
    assert list((runs / "000" / "checkpoint" / "blobs").rglob("*"))  # large ones as any large value
    with pc.load(config(runs)):
        assert len(app(2).result()) == 3_000_000
    assert Bomb.exploded == 0


class Bomb:
    exploded = 0

    def __reduce__(self) -> Any:
        return explode, ()


def explode() -> str:
    Bomb.exploded += 1
    return "boom"


def missing() -> None: ...


class Gone:
    def __reduce__(self) -> Any:
        return missing, ()


def test_what_cannot_be_loaded_is_computed_which_is_told_once(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(runs / "parsl", record(key_of(1), Gone()), record(key_of(2), Gone()))
    import_parsl(runs, [runs / "parsl"])
    monkeypatch.delattr(sys.modules[__name__], "missing")
    with (
        pc.load(config(runs)),
        pytest.warns(pc.CheckpointWarning, match="carried over from Parsl cannot be read") as told,
    ):
        assert [app(1).result(), app(2).result()] == [2, 4]
    assert len([one for one in told if "carried" in str(one.message)]) == 1


def test_a_record_under_another_key_than_its_own_is_no_answer(runs: Path) -> None:
    with Store.open(runs / "000" / "checkpoint") as store:
        data = record("0" * 32, "wrong")
        entry = store.stage(
            carrying.Encoded(2, data), key=foreign_key(bytes.fromhex(key_of(1))), app=carrying.PARSL
        )
        store.append([entry, store.stage_note(carrying._MARK, str(PROTOCOL), b"")])
    with (
        pc.load(config(runs)),
        pytest.warns(pc.CheckpointWarning, match="none of Parsl's"),
    ):
        assert app(1).result() == 2


def test_without_pickle_nothing_of_it_is_used(runs: Path) -> None:
    written(runs / "parsl", record(key_of(1), Bomb()))
    import_parsl(runs, [runs / "parsl"])
    with pytest.warns(pc.CheckpointWarning, match=r"Config\(pickle=False\)"):
        dfk = pc.load(config(runs, pickle=False))
    with dfk:
        assert app(1).result() == 2
    assert Bomb.exploded == 0


def test_apps_that_ask_how_old_a_record_is_get_none(runs: Path) -> None:
    written(runs / "parsl", record(key_of(1), 0))
    import_parsl(runs, [runs / "parsl"])
    strict = pc.python_app(plain, cache=True, code="function", valid_for="7d")
    with pc.load(config(runs)):
        assert strict(1).result() == 2


def test_output_files_must_be_there(runs: Path, tmp_path: Path) -> None:
    def writes(outputs=()):
        Path(outputs[0].filepath).write_text("made here")
        return "computed"

    def name_of(file: Any, output_ref: bool = False) -> bytes:
        return os.fsencode(file.filepath)

    ours = pc.id_for_memo.registry[pc.File]
    pc.id_for_memo.register(pc.File)(name_of)  # as with Parsl, which does not identify files itself
    try:
        there, gone = pc.File(tmp_path / "there"), pc.File(tmp_path / "gone")
        Path(there).write_text("made by Parsl")
        known = ParslApp.of(writes)
        assert known is not None
        keys = [known.key((), {"outputs": [file]}) for file in (there, gone)]
        written(runs / "parsl", *[record(key.hex(), "recorded") for key in keys if key])
        import_parsl(runs, [runs / "parsl"])
        write = pc.python_app(writes, cache=True, code="function")
        for answers in (["recorded", "computed"], ["recorded", "computed"]):
            with pc.load(config(runs)):
                futures = [write(outputs=[file]) for file in (there, gone)]
                assert [future.result() for future in futures] == answers
        assert Path(there).read_text() == "made by Parsl"
        Path(there).write_text("changed since")
        with pc.load(config(runs)):
            assert write(outputs=[there]).result() in ("computed", "recorded")
            assert Path(gone).read_text() == "made here"
    finally:
        pc.id_for_memo.register(pc.File)(ours)


def test_results_of_parsl_that_were_not_taken_over_are_pointed_at(runs: Path) -> None:
    for run in ("000", "001"):
        written(runs, record(key_of(1), run), run=run)
    with pytest.warns(pc.CheckpointWarning, match="and 1 more: .*import-parsl .*runs$") as told:
        dfk = pc.load(config(runs))
    with dfk:
        assert app(1).result() == 2
    assert len(told) == 1
    import_parsl(runs / "other", [runs])
    with pc.load(config(runs / "other")):
        assert app(1).result() == "001"


def test_parsls_directory_among_checkpoint_files_is_pointed_at_too(runs: Path) -> None:
    path = written(runs / "parsl", record(key_of(1), 1))
    with pytest.warns(pc.CheckpointWarning, match="results of Parsl, which are not used"):
        dfk = pc.load(config(runs, checkpoint_files=[path.parent]))
    dfk.cleanup()


# --- files ----------------------------------------------------------------------------------------


def test_what_was_taken_over_before_is_skipped(runs: Path) -> None:
    path = written(runs / "parsl", record(key_of(1), 1))
    assert import_parsl(runs, [runs / "parsl"]).run == "000"
    maintain.compact(runs)
    again = import_parsl(runs, [runs / "parsl"])
    assert (again.run, again.files, again.skipped) == (None, [], {str(path): "000"})
    with open(path, "ab") as file:  # Parsl went on
        file.write(record(key_of(2), 2))
    assert import_parsl(runs, [runs / "parsl"]).records == 2


def test_of_a_damaged_file_the_rest_is_taken(runs: Path, capsys: Any) -> None:
    whole = record(key_of(1), 1)
    written(runs / "parsl", whole, whole[:50], record(key_of(2), 2), whole[:-5])
    assert main(["import-parsl", str(runs / "parsl"), "--run-dir", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "2 results" in said
    assert "2 places" in said
    with pc.load(config(runs)):
        assert [app(1).result(), app(2).result()] == [1, 2]
    assert RAN == []


@pytest.mark.parametrize("place", ["", "000", "000/checkpoint", "000/checkpoint/tasks.pkl"])
def test_a_checkpoint_is_found_wherever_one_points(place: str, runs: Path) -> None:
    path = written(runs / "parsl", record(key_of(1), 1))
    assert carrying.find_parsl(runs / "parsl" / place) == [str(path)]


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_where_there_is_none_that_is_said(place: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(ArchiveError, match="no checkpoint of Parsl's"):
        import_parsl(tmp_path / "runs", [tmp_path / place])
    assert main(["import-parsl", str(tmp_path / place)]) == 1
    assert "runinfo" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["checkpoint", "checkpoint/tasks.pkl"])
def test_what_others_can_write_to_is_not_taken(what: str, runs: Path, capsys: Any) -> None:
    written(runs / "parsl", record(key_of(1), Bomb()))
    (runs / "parsl" / "000" / what).chmod(0o777)
    with pytest.raises(UntrustedCheckpointError, match="written to by others"):
        import_parsl(runs, [runs / "parsl"])
    assert not (runs / "000").exists()
    command = ["import-parsl", str(runs / "parsl"), "--run-dir", str(runs)]
    assert main(command) == 1
    assert "chmod" in capsys.readouterr().err
    assert main([*command, "--trust", "any"]) == 0


def test_links_and_pipes_lead_nowhere(runs: Path, tmp_path: Path) -> None:
    path = written(runs / "parsl", record(key_of(1), 1))
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(StoreWriteError):
        import_parsl(runs, [runs / "parsl"])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArchiveError, match="is no file"):
        import_parsl(runs, [runs / "parsl"])


def test_an_object_store_takes_nothing_over(runs: Path) -> None:
    path = written(runs / "parsl", record(key_of(1), 1))
    with pytest.raises(RemoteStoreError, match="Importing is not done in place"):
        import_parsl("s3://bucket/runs", [path])


def test_one_at_a_time(runs: Path) -> None:
    path = written(runs / "parsl", record(key_of(1), 1))
    with alone(LocalBackend(), str(runs)), pytest.raises(StoreBusyError):
        import_parsl(runs, [path])
    assert import_parsl(runs, [path]).records == 1


def test_nothing_appears_when_the_disk_is_full(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(runs / "parsl", record(key_of(1), 1))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(carrying, "_settle", full)
    with pytest.raises(StoreWriteError, match="No space"):
        import_parsl(runs, [runs / "parsl"])
    assert sorted(os.listdir(runs)) == ["parsl"]


def test_a_death_on_the_way_leaves_no_run(runs: Path) -> None:
    written(runs / "parsl", *[record(f"{n:032x}", n) for n in range(2000)])
    program = f"""
        import os, signal
        from parsl_ckpt.checkpoint import carrying
        carrying._settle = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        carrying.import_parsl({str(runs)!r}, [{str(runs / "parsl")!r}])
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert pc.get_all_checkpoints(runs) == []
    assert import_parsl(runs, [runs / "parsl"]).records == 2000


def test_signed_runs_take_it_signed(runs: Path) -> None:
    written(runs / "parsl", record(key_of(1), 1))
    key = b"k" * 32
    import_parsl(runs, [runs / "parsl"], signing_key=key)
    with pc.load(config(runs, signing_key=key)):
        assert app(1).result() == 1
    with pc.load(config(runs / "other", signing_key=key, checkpoint_files=[])):
        assert app(1).result() == 2


def test_looking_after_a_shared_run_directory_leaves_parsls_files_alone(runs: Path) -> None:
    path = written(runs, record(key_of(1), 1))
    for made in (path, path.parent, path.parent.parent):
        os.utime(made, (1, 1))  # long ago
    import_parsl(runs, [runs])
    with pc.load(config(runs)):
        assert [app(n).result() for n in (1, 2)] == [1, 4]
    before = path.read_bytes()
    assert not maintain.verify(runs).damage
    maintain.repair(runs)
    maintain.compact(runs)
    maintain.prune(runs, older_than=0.0)
    maintain.prune(runs, keep_runs=1)
    assert path.read_bytes() == before


# --- out ------------------------------------------------------------------------------------------


def loaded(path: Path) -> dict[str, Any]:
    """As Parsl loads it."""
    found = {}
    with open(path / "tasks.pkl", "rb") as file:
        while True:
            try:
                data = pickle.load(file)
            except EOFError:
                return found
            assert data["exception"] is None
            found[data["hash"]] = data["result"]


def test_what_goes_back_has_parsls_keys(runs: Path, tmp_path: Path) -> None:
    big = list(range(50_000))
    with pc.load(config(runs, memoizer=pc.BasicMemoizer(parsl_keys=True))):
        assert app(21).result() == 42
        assert app(big, y=1).result() == big
        assert app(1j, y=1).result() == 1j  # Parsl has no key for a complex number
    with pc.load(config(runs)):
        app(99).result()
    done = export_parsl(runs, tmp_path / "back")
    assert (done.records, done.unknown, done.failed) == (2, 2, 0)
    assert loaded(tmp_path / "back") == {key_of(21): 42, key_of(big, y=1): big}


def test_keys_that_were_not_noted_are_worked_out_where_that_can_be(
    runs: Path, tmp_path: Path
) -> None:
    """Each way to write a call, since a record does not say which it was."""
    numpy = pytest.importorskip("numpy")
    with pc.load(config(runs)):
        app(21).result()
        app(3, y=4).result()
        app("x" * 50).result()  # only its digest is recorded
        app(numpy.int64(5)).result()  # not the call with a plain 5
    done = export_parsl(runs, tmp_path / "back", apps={"plain": (plain, (), False)})
    assert (done.records, done.unknown) == (2, 2)
    ways = [((21,), {}), ((21, 2), {}), ((), {"x": 21}), ((), {"x": 21, "y": 2}), ((21,), {"y": 2})]
    others = [((3, 4), {}), ((3,), {"y": 4}), ((), {"x": 3, "y": 4})]
    assert loaded(tmp_path / "back") == {
        **{key_of(*args, **kwargs): 42 for args, kwargs in ways},
        **{key_of(*args, **kwargs): 12 for args, kwargs in others},
    }
    other = {"plain": (lambda x, z: None, (), False)}  # the app has another signature by now
    assert export_parsl(runs, tmp_path / "other", apps=other).records == 0


def test_what_came_from_parsl_goes_back_as_it_was(
    runs: Path, tmp_path: Path, fixtures: Path
) -> None:
    import_parsl(runs, [fixtures / "tasks.pkl"], trust="any")
    assert export_parsl(runs, tmp_path / "back").records == 14
    before, after = ((at / "tasks.pkl").read_bytes() for at in (fixtures, tmp_path / "back"))
    assert after == before


VALUES = [
    None, 3, "text", {"a": (1, [2])}, {1, 2}, float("inf"), "s" * 200_000, b"b" * 200_000,
    [b"b" * 70_000] * 2, [[]] * 3, Path("p"), ValueError("v"), bytearray(100_000), int,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(VALUES)))
@pytest.mark.parametrize("compression", ["none", "auto"])
def test_every_value_goes_back(number: int, compression: Any, tmp_path: Path) -> None:
    value, key = VALUES[number], bytes(range(16))
    with Store.open(tmp_path / "runs" / "000" / "checkpoint", compression=compression) as store:
        entry = store.stage(store.encode(value), key=b"k" * 32, app="f")
        store.append([store.stage_note(entry.record_id, carrying.NOTE, b"\4" + key), entry])
        pickled = store.stage(carrying.Encoded(2, pickle.dumps(value, 5)), key=b"l" * 32, app="f")
        note = store.stage_note(pickled.record_id, carrying.NOTE, b"\5" + key[::-1])
        store.append([note, pickled])
    export_parsl(tmp_path / "runs", tmp_path / "back")
    found = loaded(tmp_path / "back")
    assert list(found) == [key.hex(), key[::-1].hex()]
    assert [repr(one) for one in found.values()] == [repr(value)] * 2


def test_arrays_go_back(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    value = numpy.arange(200_000.0)
    with Store.open(tmp_path / "runs" / "000" / "checkpoint") as store:
        entry = store.stage(store.encode({"array": value, "set": {1}}), key=b"k" * 32, app="f")
        store.append([store.stage_note(entry.record_id, carrying.NOTE, b"\4" + bytes(16)), entry])
    export_parsl(tmp_path / "runs", tmp_path / "back")
    assert (loaded(tmp_path / "back")["0" * 32]["array"] == value).all()


def test_what_cannot_be_written_is_told_and_the_rest_is(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pc.load(config(runs, memoizer=pc.BasicMemoizer(parsl_keys=True))):
        first = pc.python_app(plain, cache=True, code="function", version="1")
        assert first(1).result() == 2
    monkeypatch.setattr(returning.codecs, "decode", raising)
    command = ["export-parsl", "--run-dir", str(runs), "-o", str(tmp_path / "back")]
    assert main(command) == 1
    assert "cannot be written: RuntimeError: no" in capsys.readouterr().out


def raising(*_: Any) -> None:
    raise RuntimeError("no")


def test_removed_results_do_not_go_back(runs: Path, tmp_path: Path) -> None:
    with pc.load(config(runs, memoizer=pc.BasicMemoizer(parsl_keys=True))):
        app(1).result()
        app(2).result()
        app.forget(2)
    assert export_parsl(runs, tmp_path / "back").records == 1


def test_bad_targets_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        export_parsl(runs, tmp_path / "back")
    with Store.open(runs / "000" / "checkpoint") as store:
        store.put("a", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError):
        export_parsl(runs, tmp_path / "file")
    (tmp_path / "tasks.pkl").write_text("there")
    with pytest.raises(ArchiveError, match="there already"):
        export_parsl(runs, tmp_path)
    assert (tmp_path / "tasks.pkl").read_text() == "there"
