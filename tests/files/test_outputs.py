"""Output files: futures of them, chains, what is missing, and hits that hold as long as they do."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import threading

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import DependencyError, FileIdentityError, MissingOutputs
from parsl_ckpt.kernel.data import DataFuture

DEADLINE = 60


@pc.python_app(cache=True, code="function")
def write(text, outputs=()):
    for output in outputs:
        with open(output, "w") as opened:
            opened.write(text)
    return len(text)


@pc.python_app(cache=True, code="function")
def count(inputs=(), log=None):
    if log:
        with open(log, "a") as opened:
            opened.write(".")
    return [os.path.getsize(one) for one in inputs]


@pc.python_app(cache=True, code="function")
def logged(log, text, outputs=()):
    with open(log, "a") as opened:
        opened.write(".")
    with open(outputs[0], "w") as opened:
        opened.write(text)
    return text


def outcome(future):
    return future.result(DEADLINE), future.from_memo


# -- futures of files ------------------------------------------------------------------------------


def test_each_output_has_a_future_whose_result_is_the_file(runs, tmp_path):
    files = [pc.File(tmp_path / "a.txt"), pc.File(tmp_path / "b.txt")]
    with runs():
        future = write("abc", outputs=files)
        assert [type(one) for one in future.outputs] == [DataFuture, DataFuture]
        assert future.outputs[0] is future.outputs[0]
        assert [one.result(DEADLINE) for one in future.outputs] == files
        first = future.outputs[0]
        assert (first.parent, first.tid, first.file_obj) == (future, future.tid, files[0])
        assert first.filepath == first.filename == str(tmp_path / "a.txt")
        assert first.done() and not first.running() and not first.cancelled()
        assert first.exception() is None and first.task_status() == "exec_done"
        assert "a.txt" in repr(first) and "exec_done" in repr(first)
        assert (tmp_path / "b.txt").read_text() == "abc"
        assert count(inputs=[]).outputs == []


def test_a_future_of_a_file_is_neither_cancelled_nor_taken_apart(run, tmp_path):
    with run():
        data = write("abc", outputs=[pc.File(tmp_path / "a.txt")]).outputs[0]
        assert data.cancel() is False and data.result(DEADLINE)
        with pytest.raises(TypeError, match="not indexed"):
            data[0]
        with pytest.raises(AttributeError, match="'size'"):
            data.size  # noqa: B018
        assert data.why().app == "write"


def test_a_call_that_fails_fails_its_files_and_what_depends_on_them(runs, tmp_path):
    @pc.python_app(cache=True)
    def broken(outputs=()):
        raise ValueError("no")

    with runs():
        data = broken(outputs=[pc.File(tmp_path / "a")]).outputs[0]
        with pytest.raises(ValueError, match="no"):
            data.result(DEADLINE)
        assert isinstance(data.exception(), ValueError)
        with pytest.raises(DependencyError) as caught:
            count(inputs=[data]).result(DEADLINE)
        assert isinstance(caught.value.__cause__, ValueError)


def test_a_call_that_is_given_up_gives_up_its_files(run, tmp_path):
    gate = threading.Event()

    @pc.python_app
    def wait():
        gate.wait(DEADLINE)

    with run(executors=[pc.ThreadPoolExecutor(max_workers=1)]):
        wait()
        future = write("abc", outputs=[pc.File(tmp_path / "a")])
        data = future.outputs[0]
        assert not data.done() and future.cancel()
        assert data.cancelled() and data.done()
        gate.set()


def test_the_standard_library_waits_for_files(run, tmp_path):
    gate = threading.Event()

    @pc.python_app
    def late(outputs=()):
        gate.wait(DEADLINE)
        for output in outputs:
            open(output, "w").close()

    called, seen = threading.Event(), []
    with run():
        files = [pc.File(tmp_path / name) for name in "ab"]
        before = write("x", outputs=[pc.File(tmp_path / "c")]).outputs[0]
        before.result(DEADLINE)
        data = late(outputs=files).outputs
        waiting = threading.Thread(target=concurrent.futures.wait, args=(data,))
        waiting.start()
        data[0].add_done_callback(lambda one: (seen.append(one), called.set()))
        assert concurrent.futures.wait(data, timeout=0).not_done == set(data)
        gate.set()
        assert set(concurrent.futures.as_completed([*data, before], DEADLINE)) == {*data, before}
        waiting.join(DEADLINE)
        assert not waiting.is_alive()
        assert concurrent.futures.wait([*data, before], DEADLINE).not_done == set()

        async def awaited():
            return await asyncio.wrap_future(data[1])

        assert asyncio.run(awaited()) == files[1]
        assert called.wait(DEADLINE)
    assert seen == [data[0]]


# -- chains ----------------------------------------------------------------------------------------


def test_an_output_is_an_input_of_another_call_which_waits_for_it(runs, tmp_path):
    with runs():
        one = write("abc", outputs=[pc.File(tmp_path / "a"), pc.File(tmp_path / "b")])
        assert outcome(count(inputs=one.outputs)) == ([3, 3], False)
        assert outcome(count([{"x": one.outputs[0]}["x"]])) == ([3], False)


def test_a_chain_is_restored_without_running(runs, tmp_path):
    def chain():
        one = write("abc", outputs=[pc.File(tmp_path / "a")])
        return one, count(inputs=[one.outputs[0]])

    with runs():
        assert [outcome(one)[0] for one in chain()] == [3, [3]]
    with runs() as dfk:
        assert [outcome(one) for one in chain()] == [(3, True), ([3], True)]
        assert dfk.counts()["exec_done"] == 0


def test_equal_content_written_by_an_edited_call_is_a_hit_further_down(runs, tmp_path):
    with runs():
        assert outcome(count(inputs=write("abc", outputs=[pc.File(tmp_path / "a")]).outputs)) == (
            [3], False,
        )  # fmt: skip

    @pc.python_app(cache=True, version="edited")
    def write_again(text, outputs=()):
        with open(outputs[0], "w") as opened:
            opened.write(text)

    with runs():
        again = write_again("abc", outputs=[pc.File(tmp_path / "other")])
        assert outcome(count(inputs=again.outputs)) == ([3], True)
        assert not again.from_memo


def test_a_file_and_the_future_of_it_are_the_same_argument(run, tmp_path):
    with run():
        data = write("abc", outputs=[pc.File(tmp_path / "a")]).outputs[0]
        assert outcome(count(inputs=[data])) == ([3], False)
        assert outcome(count(inputs=[pc.File(tmp_path / "a")])) == ([3], True)


def test_a_file_that_someone_changed_is_another_input_and_nothing_is_filed_under_the_old(
    run, tmp_path
):
    path = tmp_path / "a"
    with run():
        one = write("abc", outputs=[pc.File(path)])
        one.result(DEADLINE)
        path.write_text("longer")
        assert outcome(count(inputs=one.outputs)) == ([6], False)
        path.write_text("abc")
    with run():
        one = write("abc", outputs=[pc.File(path)])
        assert outcome(one) == (3, True)
        assert outcome(count(inputs=one.outputs)) == ([3], False)


# -- what has to be there --------------------------------------------------------------------------


def test_an_output_that_is_not_written_fails_the_call_and_is_named(runs, tmp_path):
    @pc.python_app(cache=True)
    def forgetful(outputs=()):
        open(outputs[0], "w").close()
        return 1

    files = [pc.File(tmp_path / name) for name in ("a.txt", "b.txt")]
    with runs():
        future = forgetful(outputs=files)
        with pytest.raises(MissingOutputs, match=r"forgetful .*did not write .*b\.txt") as caught:
            future.result(DEADLINE)
        assert caught.value.outputs == [files[1]] and caught.value.app == "forgetful"
        assert future.outputs[0].exception() is caught.value
        assert forgetful.peek(outputs=files) is None


def test_of_many_missing_files_a_few_are_named(run, tmp_path):
    @pc.python_app
    def nothing(outputs=()):
        pass

    with run(), pytest.raises(MissingOutputs, match="x4 and 3 more"):
        nothing(outputs=[pc.File(f"{tmp_path}/x{n}") for n in range(8)]).result(DEADLINE)


def test_it_is_tried_again(run, tmp_path):
    tries = []

    @pc.python_app
    def second(outputs=()):
        tries.append(1)
        if len(tries) == 2:
            open(outputs[0], "w").close()

    with run(retries=1):
        assert second(outputs=[pc.File(tmp_path / "a")]).result(DEADLINE) is None
        assert len(tries) == 2


# -- hits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["gone", "altered", "longer", "a directory"])
def test_a_call_runs_again_if_an_output_is_not_what_it_was(runs, tmp_path, what):
    log, path = tmp_path / "log", tmp_path / "a.txt"
    for later in (True, False):  # in a later run, and in the same
        path.unlink(missing_ok=True)
        with runs():
            logged.fresh(str(log), "abc", outputs=[pc.File(path)]).result(DEADLINE)
            if not later:
                assert_runs_again(what, log, path)
        if later:
            with runs():
                assert_runs_again(what, log, path)


def assert_runs_again(what, log, path):
    call = lambda: logged(str(log), "abc", outputs=[pc.File(path)])  # noqa: E731
    assert outcome(call()) == ("abc", True)
    ran = log.read_text()
    if what == "altered":  # one byte, same size, same time
        times = os.stat(path)
        path.write_text("abd")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif what == "longer":
        path.write_text("abcd")
    else:
        path.unlink()
    if what == "a directory":
        path.mkdir()
        assert logged.peek(str(log), "abc", outputs=[pc.File(path)]) is None
        path.rmdir()
    again = call()
    assert outcome(again) == ("abc", False)
    assert path.read_text() == "abc" and log.read_text() == ran + "."
    said = str(again.why())
    assert "a.txt" in said and ("is gone" in said or "has changed" in said), said
    assert outcome(call()) == ("abc", True)


def test_a_hit_gives_futures_of_the_files(runs, tmp_path):
    with runs():
        write("abc", outputs=[pc.File(tmp_path / "a")]).result(DEADLINE)
    with runs():
        again = write("abc", outputs=[pc.File(tmp_path / "a")])
        assert again.outputs[0].done() and again.outputs[0].result() == pc.File(tmp_path / "a")
        assert again.outputs[0].from_memo


def test_a_relative_output_has_to_be_where_this_call_wants_it(run, tmp_path, monkeypatch):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
    with run():
        monkeypatch.chdir(tmp_path / "one")
        assert outcome(write("abc", outputs=[pc.File("a")])) == (3, False)
        assert outcome(write("abc", outputs=[pc.File("a")])) == (3, True)
        monkeypatch.chdir(tmp_path / "two")
        assert outcome(write("abc", outputs=[pc.File("a")])) == (3, False)
        assert (tmp_path / "two" / "a").read_text() == "abc"


def test_a_directory_may_be_an_output_and_counts_by_what_is_in_it(runs, tmp_path):
    @pc.python_app(cache=True, code="function")
    def fill(names, outputs=()):
        import os

        for name in names:
            os.makedirs(os.path.join(outputs[0], name), exist_ok=True)
            with open(os.path.join(outputs[0], name, "x"), "w") as opened:
                opened.write(name)

    place = tmp_path / "directory"
    call = lambda: outcome(fill(["a", "b"], outputs=[pc.File(place)]))  # noqa: E731
    with runs():
        assert call() == (None, False)
        assert call() == (None, True)
        (place / "b" / "x").write_text("c")
        assert call() == (None, False)
        (place / "b" / "y").write_text("")
        assert call() == (None, False)


def test_two_names_of_one_call_are_two_calls(run, tmp_path):
    with run():
        assert outcome(write("abc", outputs=[pc.File(tmp_path / "a")])) == (3, False)
        assert outcome(write("abc", outputs=[pc.File(tmp_path / "b")])) == (3, False)


def test_what_no_file_could_be_digested_of_is_not_recorded_and_said_so(run, tmp_path):
    @pc.python_app(cache=True)
    def pipe(outputs=()):
        os.mkfifo(outputs[0])

    with (
        pytest.raises(pc.CheckpointNotSavedError, match="1 of pipe"),
        pytest.warns(pc.CheckpointWarning, match="pipe.*neither a file nor a directory"),
        run(),
    ):
        future = pipe(outputs=[pc.File(tmp_path / "pipe")])
        assert future.result(DEADLINE) is None  # it has succeeded
        assert pipe.peek(outputs=[pc.File(tmp_path / "pipe")]) is None


def test_an_output_that_counts_by_its_path_only_has_to_be_there(runs, tmp_path):
    @pc.python_app(cache=True, code="function")
    def make(outputs=()):
        os.mkfifo(outputs[0])

    @pc.python_app(cache=True, code="function")
    def name(file):
        return os.path.basename(file)

    pipe = pc.File(tmp_path / "pipe", identity="path")
    for expected in (False, True):
        with runs():
            future = make(outputs=[pipe])
            assert outcome(future) == (None, expected)
            assert outcome(name(future.outputs[0])) == ("pipe", expected)
    os.remove(pipe)
    with runs():
        assert outcome(make(outputs=[pipe])) == (None, False)


def test_an_input_that_was_an_output_and_is_gone_fails_the_call(run, tmp_path):
    with run():
        one = write("abc", outputs=[pc.File(tmp_path / "a")])
        one.result(DEADLINE)
        (tmp_path / "a").unlink()
        with pytest.raises(FileIdentityError, match="cannot be read"):
            count(inputs=one.outputs).result(DEADLINE)


# -- join apps -------------------------------------------------------------------------------------


def test_a_join_app_has_outputs_too(runs, tmp_path):
    @pc.join_app(cache=True)
    def both(text, outputs=()):
        return [write(text, outputs=[one]) for one in outputs]

    @pc.join_app(cache=True)
    def neither(outputs=()):
        return []

    files = [pc.File(tmp_path / "a"), pc.File(tmp_path / "b")]
    with runs():
        one = both("abc", outputs=files)
        assert outcome(count(inputs=one.outputs)) == ([3, 3], False)
        with pytest.raises(MissingOutputs, match="neither"):
            neither(outputs=[pc.File(tmp_path / "c")]).result(DEADLINE)
    with runs():
        assert outcome(both("abc", outputs=files)) == ([3, 3], True)
        (tmp_path / "b").unlink()
        assert outcome(both("abc", outputs=files)) == ([3, 3], False)
        assert (tmp_path / "b").read_text() == "abc"


# -- several writers -------------------------------------------------------------------------------


def test_two_calls_under_way_that_write_one_file_are_told_of(run, tmp_path):
    gate, begun = threading.Event(), threading.Barrier(2, timeout=DEADLINE)

    @pc.python_app
    def one(text, outputs=()):
        begun.wait()
        gate.wait(DEADLINE)
        with open(outputs[0], "w") as opened:
            opened.write(text)

    file = pc.File(tmp_path / "a")
    warned = pytest.warns(pc.CheckpointWarning, match="Two calls under way.*one; tasks 0 and 1")
    with run(executors=[pc.ThreadPoolExecutor(max_workers=2)]) as dfk, warned:
        calls = [one(text, outputs=[file]) for text in "xy"]
        gate.set()
        for call in calls:
            call.result(DEADLINE)
        assert dfk.kernel.execution._writing == {}


def test_what_two_calls_write_to_one_file_at_once_is_filed_under_neither(run, tmp_path, recwarn):
    wrote, go, path = threading.Event(), threading.Event(), tmp_path / "a"

    @pc.python_app(cache=True, code="name")
    def put(text, outputs=()):
        with open(outputs[0], "w") as opened:
            opened.write(text)
        if text == "one":
            wrote.set()
            assert go.wait(DEADLINE)

    with run():
        one = put("one", outputs=[pc.File(path)])
        assert wrote.wait(DEADLINE)
        put("two", outputs=[pc.File(path)]).result(DEADLINE)
        go.set()
        one.result(DEADLINE)
        assert path.read_text() == "two"
    with run():
        assert outcome(put("one", outputs=[pc.File(path)])) == (None, False)
        assert path.read_text() == "one"


def test_calls_that_write_one_file_after_each_other_run_again_and_are_right(run, tmp_path, recwarn):
    file = pc.File(tmp_path / "a")
    for _ in range(2):  # each spoils what the other has left
        with run():
            for text in ("abc", "xyz"):
                assert outcome(write(text, outputs=[file])) == (3, False)
                assert (tmp_path / "a").read_text() == text
    assert [one for one in recwarn if one.category is pc.CheckpointWarning] == []


# -- what it costs ---------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch):
    """The files that this process has read to digest them."""
    from parsl_ckpt.identity import files

    names, original = [], files._read
    monkeypatch.setattr(files, "_read", lambda name: (names.append(name), original(name))[1])
    monkeypatch.setattr(files, "_digests", {})
    return names


def test_a_large_output_is_digested_once_where_it_was_written(runs, tmp_path, reads):
    path = tmp_path / "large"

    @pc.python_app(cache=True, code="function")
    def large(outputs=()):
        with open(outputs[0], "wb") as opened:
            opened.truncate(100 << 20)

    with runs() as dfk:
        large(outputs=[pc.File(path)]).result(DEADLINE)
        here = "threads" in dfk.config.executors[0].label
        assert reads == ([str(path)] if here else [])


def test_an_old_output_is_read_once_more_and_never_again(run, tmp_path, reads, monkeypatch):
    from parsl_ckpt.identity import files as identity
    from parsl_ckpt.identity import grain

    path = tmp_path / "a"
    monkeypatch.setattr(grain, "_is_fine", lambda device: False)
    monkeypatch.setattr(grain, "_grains", {})
    with run():
        write("abc", outputs=[pc.File(path)]).result(DEADLINE)
    monkeypatch.setattr(grain, "_grains", {os.stat(path).st_dev: 0})  # as if time had passed
    monkeypatch.setattr(identity, "YOUNG_NS", 0)
    for expected in ([str(path)], []):
        reads.clear()
        identity._digests.clear()
        with run():
            for _ in range(3):
                assert outcome(write("abc", outputs=[pc.File(path)])) == (3, True)
        assert reads == expected
    # what is noted of its state is worth nothing once that has changed
    times = os.stat(path)
    path.write_text("abd")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with run():
        assert outcome(write("abc", outputs=[pc.File(path)])) == (3, False)


def test_a_large_output_on_a_local_disk_is_read_by_no_later_run(run, tmp_path, reads, monkeypatch):
    from parsl_ckpt.apps import files
    from parsl_ckpt.identity import grain

    path = tmp_path / "a"
    monkeypatch.setattr(files, "LARGE", 3)
    monkeypatch.setattr(grain, "_grains", {os.stat(tmp_path).st_dev: grain.FINE_NS})
    with run():
        write("abc", outputs=[pc.File(path)]).result(DEADLINE)
    assert reads == [str(path)]
    with run():
        assert outcome(write("abc", outputs=[pc.File(path)])) == (3, True)
    assert reads == [str(path)]
    # not even a change that keeps size and time goes unnoticed
    times = os.stat(path)
    path.write_text("abd")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with run():
        assert outcome(write("abc", outputs=[pc.File(path)])) == (3, False)


def test_where_a_files_time_says_little_nobody_waits_for_it(tmp_path, monkeypatch):
    from parsl_ckpt.apps import files
    from parsl_ckpt.identity import grain

    (tmp_path / "a").write_text("abc")
    monkeypatch.setattr(files, "LARGE", 0)
    monkeypatch.setattr(grain, "_grains", {os.stat(tmp_path).st_dev: grain.COARSE_NS})
    monkeypatch.setattr(files.time, "sleep", lambda seconds: pytest.fail("it waits"))
    for name in ("a", ".", "none"):
        file = pc.File(tmp_path / name)
        file.settle()
        assert file.stamp() == b""


def test_the_stamp_of_an_output_is_older_than_its_digest(monkeypatch):
    from parsl_ckpt.kernel import outputs

    class Changing:
        url, version, identity = "x", 1, "content"

        def exists(self):
            return True

        def size(self):
            return 1

        def settle(self):
            pass

        def content(self):
            digest, self.version = b"%d" % self.version, self.version + 1  # it is changed then
            return digest

        def stamp(self):
            return b"stamp %d" % self.version

    assert outputs.made(Changing()) == outputs.Made("x", 1, b"1", b"stamp 1")


def test_a_call_without_outputs_leaves_no_note(run, tmp_path):
    from parsl_ckpt.kernel.outputs import OUTPUTS

    with run() as dfk:
        for future, noted in (
            (count(), False), (write("a", outputs=[pc.File(tmp_path / "a")]), True),
        ):  # fmt: skip
            future.result(DEADLINE)
            assert (dfk.kernel.store.note(future._record, OUTPUTS) is not None) is noted


# -- beside the way --------------------------------------------------------------------------------


def test_a_call_with_outputs_is_neither_audited_nor_kept_as_a_specimen(run, tmp_path):
    from parsl_ckpt.kernel.specimens import ARGUMENTS

    log, path = tmp_path / "log", tmp_path / "a"
    with run(audit_rate=1.0) as dfk:
        call = logged(str(log), "abc", outputs=[pc.File(path)])
        call.result(DEADLINE)
        assert dfk.kernel.store.note(call._record, ARGUMENTS) is None
        assert outcome(logged(str(log), "abc", outputs=[pc.File(path)])) == ("abc", True)
        dfk.wait_for_current_tasks()
    assert log.read_text() == "."


def test_a_damaged_or_missing_note_is_a_miss(run, tmp_path):
    from parsl_ckpt.kernel.outputs import OUTPUTS, decode

    assert decode(b"\xc1") is None and decode(None) is None
    with run() as dfk:
        call = write("abc", outputs=[pc.File(tmp_path / "a")])
        call.result(DEADLINE)
        note = dfk.kernel.store.stage_note(call._record, OUTPUTS, b"\xc1")
        dfk.kernel.writer.commit(None, note)
        again = write("abc", outputs=[pc.File(tmp_path / "a")])
        assert outcome(again) == (3, False)
        assert "not recorded" in str(again.why())


def test_whether_a_call_would_run_is_told_of_its_files(run, tmp_path):
    with run() as dfk:
        file = pc.File(tmp_path / "a.txt")
        write("abc", outputs=[file]).result(DEADLINE)
        assert "a.txt" not in str(dfk.explain(write, "abc", outputs=[file]))
        (tmp_path / "a.txt").unlink()
        assert "a.txt is gone" in str(dfk.explain(write, "abc", outputs=[file]))


def test_a_hit_whose_value_is_unreadable_runs_again_and_writes_its_files(
    run, tmp_path, monkeypatch
):
    with run():
        logged(str(tmp_path / "log"), "abc", outputs=[pc.File(tmp_path / "a")]).result(DEADLINE)
    with run() as dfk:
        monkeypatch.setattr(dfk.kernel.store, "value", _unreadable)
        call = logged(str(tmp_path / "log"), "abc", outputs=[pc.File(tmp_path / "a")])
        after = call.outputs[0]
        with pytest.warns(pc.CheckpointWarning):
            assert call.result(DEADLINE) == "abc"
        assert after.result(DEADLINE) == pc.File(tmp_path / "a")
        assert not call.from_memo
    assert (tmp_path / "log").read_text() == ".."


def _unreadable(stored):
    raise pc.ParslCkptError("damaged")


# -- in every mode, and after every kind of housekeeping -------------------------------------------


@pytest.mark.parametrize("mode", ["manual", "periodic", "dfk_exit", None])
def test_outputs_hold_in_every_mode(run, tmp_path, mode):
    file = pc.File(tmp_path / "a")
    with run(checkpoint_mode=mode) as dfk:
        assert outcome(write("abc", outputs=[file])) == (3, False)
        assert outcome(write("abc", outputs=[file])) == (3, True)
        (tmp_path / "a").write_text("abd")
        assert outcome(write("abc", outputs=[file])) == (3, False)
        dfk.checkpoint()
    with run(checkpoint_mode="task_exit"):
        assert outcome(write("abc", outputs=[file])) == (3, True)
        (tmp_path / "a").unlink()
        assert outcome(write("abc", outputs=[file])) == (3, False)


@pytest.mark.parametrize("command", ["compact", "prune", "export"])
def test_notes_of_outputs_travel_with_their_records(run, tmp_path, command):
    from parsl_ckpt.cli import main

    file = pc.File(tmp_path / "a")
    for text in ("old", "abc"):
        with run():
            write(text, outputs=[file]).result(DEADLINE)
    runs = str(tmp_path / "runs")
    if command == "compact":
        assert main(["compact", "--run-dir", runs]) in (0, None)
    elif command == "prune":
        assert main(["prune", "--run-dir", runs, "--older-than", "30d"]) in (0, None)
    else:
        archive = str(tmp_path / "all.tar")
        assert main(["export", "--run-dir", runs, "-o", archive]) in (0, None)
        os.rename(runs, runs + ".gone")
        assert main(["import", "--run-dir", runs, archive]) in (0, None)
    with run():
        assert outcome(write("abc", outputs=[file])) == (3, True)
        assert outcome(write("old", outputs=[file])) == (3, False)


def test_an_executor_of_another_library_writes_files_too(run, tmp_path):
    context = multiprocessing.get_context("spawn")  # this process has threads
    pool = pc.wrap(concurrent.futures.ProcessPoolExecutor(1, mp_context=context), "other")
    with run(executors=[pool]):
        one = write("abc", outputs=[pc.File(tmp_path / "a")])
        assert outcome(count(inputs=one.outputs)) == ([3], False)
    with run():
        assert outcome(write("abc", outputs=[pc.File(tmp_path / "a")])) == (3, True)


def test_processes_that_share_a_run_directory_look_at_the_files(run, tmp_path):
    config = {"checkpoint_mode": "task_exit", "single_flight": "shared"}
    file = pc.File(tmp_path / "a")
    with (
        run(**config) as one,
        pc.DataFlowKernel(pc.Config(run_dir=one.config.run_dir, **config)) as two,
    ):
        there = pc.python_app(write.__wrapped__, two, cache=True, code="function")
        assert outcome(write("abc", outputs=[file])) == (3, False)
        assert outcome(there("abc", outputs=[file])) == (3, True)
        (tmp_path / "a").unlink()
        assert outcome(there("abc", outputs=[file])) == (3, False)
        assert outcome(write("abc", outputs=[file])) == (3, True)


def test_an_observed_app_and_a_coroutine_have_outputs(run, tmp_path):
    @pc.python_app(cache=True, watch_inputs=True, check_mutation=True)
    def watched(source, outputs=()):
        with open(source) as read, open(outputs[0], "w") as written:
            written.write(read.read())

    @pc.python_app(cache=True)
    async def later(outputs=()):
        open(outputs[0], "w").close()
        return 1

    (tmp_path / "source").write_text("abc")
    with run():
        one = watched(pc.File(tmp_path / "source"), outputs=[pc.File(tmp_path / "a")])
        assert outcome(one) == (None, False) and (tmp_path / "a").read_text() == "abc"
        assert outcome(later(outputs=[pc.File(tmp_path / "b")])) == (1, False)
    with run():
        one = watched(pc.File(tmp_path / "source"), outputs=[pc.File(tmp_path / "a")])
        assert outcome(one) == (None, True)
        assert outcome(later(outputs=[pc.File(tmp_path / "b")])) == (1, True)


def test_nothing_is_noted_where_nothing_is_recorded(run, tmp_path, monkeypatch):
    file = pc.File(tmp_path / "a")
    with run(app_cache=False):
        assert outcome(write("abc", outputs=[file])) == (3, False)
        assert outcome(write("abc", outputs=[file])) == (3, False)
    with run():
        write("abc", outputs=[file]).result(DEADLINE)
    monkeypatch.setenv("PARSL_CKPT", "read-only")
    with run():
        assert outcome(write("abc", outputs=[file])) == (3, True)
        (tmp_path / "a").unlink()
        assert outcome(write("abc", outputs=[file])) == (3, False)
        (tmp_path / "a").unlink()
        assert outcome(write("abc", outputs=[file])) == (3, False)


# -- as Parsl does ---------------------------------------------------------------------------------


def test_under_parsls_names_only_a_command_has_to_write_its_outputs(tmp_path, monkeypatch):
    import parsl_ckpt.compat.parsl as parsl

    @parsl.python_app(cache=True)
    def perhaps(write, outputs=()):
        if write:
            open(outputs[0], "w").close()
        return 1

    @parsl.join_app(cache=True)
    def joined(outputs=()):
        return perhaps(False, outputs=[parsl.File(str(tmp_path / "c"))])

    @parsl.bash_app
    def command(outputs=()):
        return "true"

    monkeypatch.chdir(tmp_path)
    file = parsl.File(str(tmp_path / "a"))
    with parsl.load(parsl.Config()):
        one = perhaps(False, outputs=[file])
        assert one.result() == 1 and one.outputs[0].result() == file
        assert perhaps(False, outputs=[file]).from_memo
        (tmp_path / "a").write_text("")
        again = perhaps(False, outputs=[file])
        assert again.result() == 1 and not again.from_memo
        assert "a has appeared" in str(again.why())
        assert joined(outputs=[parsl.File(str(tmp_path / "b"))]).result() == 1
        with pytest.raises(MissingOutputs):
            command(outputs=[parsl.File(str(tmp_path / "b"))]).result()
    parsl.clear()


# -- what is told of them --------------------------------------------------------------------------


def test_a_record_is_shown_with_the_files_that_it_left_and_the_calls_it_took_files_of(
    run, tmp_path, capsys
):
    from parsl_ckpt.cli import main

    with run():
        one = write("abc", outputs=[pc.File(tmp_path / "a"), pc.File(tmp_path / "b")])
        two = count(inputs=one.outputs)
        two.result(DEADLINE)
        keys = [future._value_key.hex() for future in (one, two)]
    for key in keys:
        assert main(["show", "--run-dir", str(tmp_path / "runs"), key]) == 0
    shown = capsys.readouterr().out
    assert f"left       {tmp_path / 'a'} (3 B)\n" in shown and f"{tmp_path / 'b'} (3 B)" in shown
    assert shown.count("input      ") == 1 and f"input      {keys[0][:16]} write" in shown
