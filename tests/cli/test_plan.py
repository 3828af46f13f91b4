"""``parsl-ckpt plan``: what a script would compute, told without computing it."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.dataflow import DataFlowKernel
from tests.cli.conftest import Tell

HEAD = """
import sys
import parsl_ckpt as pc

def note(what):
    with open("ran", "a") as file:
        file.write(what + "\\n")

@pc.python_app(cache=True)
def read(name):
    note("read")
    return {"text": name}

@pc.python_app(cache=True)
def clean(text):
    note("clean")
    return text.upper()

@pc.python_app
def show(text):  # not cached
    note("show")
    return text

config = pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=3)], checkpoint_mode="task_exit")
"""

PLANNED = """
with pc.load(config) as dfk:
    with dfk.plan() as plan:
        parts = [clean(read(name)["text"]) for name in sys.argv[1:]]
    print("outcome:", plan.run().results())
"""

Write = Callable[..., str]


@pytest.fixture
def write(told: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the script; all temporary directories are in one that the tests can look at."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.delenv("PARSL_CKPT", raising=False)

    def written(body: str, head: str = HEAD, name: str = "script.py") -> str:
        (tmp_path / name).write_text(head + textwrap.dedent(body), encoding="utf-8")
        return name

    return written


@pytest.fixture
def do(write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the script in earnest, and forgets what has run."""

    def done(script: str, *arguments: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [script, *arguments])
            runpy.run_path(script, run_name="__main__")
        Path("ran").unlink(missing_ok=True)
        return capsys.readouterr().out

    return done


def everything(root: Path) -> dict[str, tuple[int, int]]:
    """All files and when they changed."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(root.rglob("*"))
        if path.name not in ("__pycache__", "tmp")
    }


# --- a plan ---------------------------------------------------------------------------------------


def test_a_plan_is_told_and_nothing_is_executed_or_written(
    told: Tell, write: Write, do, tmp_path: Path
) -> None:
    script = write(PLANNED)
    assert do(script, "a", "b") == "outcome: ['A', 'B']\n"
    before = everything(tmp_path)
    status, out, err = told("plan", script, "a", "b", "c")
    assert (status, err) == (0, "")
    assert out.startswith("Plan of 6 tasks: 2 run, 2 are restored, 2 are cut away.\n")
    assert "clean    1         2    -" in out
    assert "no call with these arguments is recorded" in out
    assert "on 3 workers" in out  # those of the script
    assert "outcome:" not in out  # the script has ended before
    assert everything(tmp_path) == before
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_first_plan_of_all_makes_no_run_directory(
    told: Tell, write: Write, tmp_path: Path
) -> None:
    status, out, _ = told("plan", write(PLANNED), "a")
    assert status == 0 and "2 run" in out and "no call of it is recorded" in out
    assert sorted(os.listdir(tmp_path)) == ["script.py", "tmp"]


def test_a_plan_in_a_thread_of_the_script_ends_that_thread_without_a_traceback(
    told: Tell, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    script = write("""
        import threading
        def work():
            with pc.load(config) as dfk, dfk.plan() as plan:
                read("a")
        def fail():
            raise OSError("in earnest")
        for target in (fail, work):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    """)
    status, out, err = told("plan", script)
    assert status == 0 and out.startswith("Plan of 1 task") and "Enough" not in err
    assert [failed.exc_type for failed in failures] == [OSError]
    assert threading.excepthook == failures.append


def test_edited_code_is_told(told: Tell, write: Write, do) -> None:
    do(write(PLANNED), "a")
    out = told("plan", write(PLANNED, HEAD.replace("text.upper()", "text.title()")), "a")[1]
    assert "clean (clean-2): its code has changed since run 000." in out
    assert "+    return text.title()" in out


def test_the_process_is_as_it_was_afterwards(told: Tell, write: Write) -> None:
    before = sys.modules["__main__"], sys.argv, sys.path[:], DataFlowKernel.__init__
    told("plan", write(PLANNED), "a")
    assert (sys.modules["__main__"], sys.argv, sys.path, DataFlowKernel.__init__) == before
    assert pc.dataflow.loaded() is None


def test_the_script_finds_its_neighbours_and_its_name(
    told: Tell, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    write("NAMES = ['x', 'y', 'z']", "", "below/neighbour_of_script.py")
    script = write(
        """
        import neighbour_of_script
        assert __name__ == "__main__" and __file__.endswith("script.py")
        with pc.load(config) as dfk:
            with dfk.plan() as plan:
                [read(name) for name in neighbour_of_script.NAMES]
        """,
        name="below/script.py",
    )
    status, out, err = told("plan", script)
    assert (status, err) == (0, "") and "Plan of 3 tasks" in out
    sys.modules.pop("neighbour_of_script")


def test_only_the_first_plan_is_told(told: Tell, write: Write) -> None:
    status, out, _ = told("plan", write(PLANNED + "\nraise SystemExit(3)\n"), "a")
    assert status == 0 and out.count("Plan of") == 1


def test_a_kernel_of_its_own_with_named_checkpoints(told: Tell, write: Write, do) -> None:
    do(write(PLANNED), "a")
    script = write(
        """
        dfk = pc.DataFlowKernel(pc.Config(run_dir="elsewhere"), checkpoint_files=[
            "runinfo/000/checkpoint"])
        bound = pc.python_app(cache=True, data_flow_kernel=dfk)(read.__wrapped__)
        with dfk.plan() as plan:
            bound("a")
        """
    )
    status, out, err = told("plan", script)
    assert (status, err) == (0, "") and "none runs, 1 is restored" in out
    assert not os.path.exists("elsewhere")


def test_runs_in_an_object_store_are_read_and_not_written(told: Tell, write: Write, do) -> None:
    fsspec = pytest.importorskip("fsspec")
    head = HEAD.replace("config = pc.Config(", "config = pc.Config(run_dir='memory://plan', ")
    script = write(PLANNED, head)
    try:
        do(script, "a")
        before = fsspec.filesystem("memory").find("/plan", detail=True)
        status, out, err = told("plan", script, "a", "b")
        assert (status, err) == (0, "")
        assert "Plan of 4 tasks: 2 run, 1 is restored, 1 is cut away." in out
        assert fsspec.filesystem("memory").find("/plan", detail=True) == before
    finally:
        fsspec.filesystem("memory").rm("/plan", recursive=True)


def test_a_checkpoint_that_is_not_there_is_the_scripts_error(told: Tell, write: Write) -> None:
    script = write('pc.load(pc.Config(checkpoint_files=["nowhere"]))')
    status, _, err = told("plan", script)
    assert status == 1 and "CheckpointNotFoundError" in err


# --- calls outside of a plan ----------------------------------------------------------------------


def test_recorded_calls_outside_of_a_plan_have_their_values(told: Tell, write: Write, do) -> None:
    script = write(
        """
        with pc.load(config) as dfk:
            first = read("a")
            print("got", first.result(), first["text"].result(), first.done())
            with dfk.plan() as plan:
                clean(first["text"])
                clean(read("b")["text"])
            plan.run().results()
        """
    )
    do(script)
    status, out, err = told("plan", script)
    assert (status, err) == (0, "")
    assert "got {'text': 'a'} a True" in out
    assert "Plan of 3 tasks: none runs, 2 are restored, 1 is cut away." in out
    assert not os.path.exists("ran")


def test_a_script_that_needs_what_is_not_recorded_ends_there(told: Tell, write: Write, do) -> None:
    body = """
        with pc.load(config) as dfk:
            texts = [read(name) for name in sys.argv[1:]]
            try:
                total = sum(len(one.result()["text"]) for one in texts)
            except Exception:
                print("caught")
            print("went on")
        """
    script = write(body)
    do(script, "a")
    status, out, err = told("plan", script, "a", "b", "c")
    assert (status, err) == (0, "")
    assert "caught" not in out and "went on" not in out
    assert "The script needs the result of read (task 1) to go on" in out
    assert "name: 'a' → 'b'" in out
    assert "Plan of 3 tasks: 2 run, 1 is restored, none is cut away." in out
    assert not os.path.exists("ran")


@pytest.mark.parametrize(
    "look",
    [
        "show('a').result()",
        "clean(show('a')).exception()",
        "read('a')['text'].result()",
        "list(concurrent.futures.as_completed([read('a')]))",
        "concurrent.futures.wait([read('a')])",
        "asyncio.run(waited(read('a')))",
        "shell(outputs=[pc.File('out')]).outputs[0].result()",
    ],
)
def test_whoever_looks_in_whatever_way_ends_the_script(told: Tell, write: Write, look: str) -> None:
    script = write(
        f"""
        import asyncio, concurrent.futures

        async def waited(future):
            return await future

        @pc.bash_app(cache=True)
        def shell(outputs=()):
            return f"echo shell > ran > {{outputs[0]}}"

        with pc.load(config):
            {look}
            print("went on")
        """
    )
    status, out, _ = told("plan", script)
    assert status == 0 and "The script needs the result of" in out and "went on" not in out
    assert not os.path.exists("ran")


def test_a_script_that_waits_for_its_tasks_ends_there_unless_all_are_recorded(
    told: Tell, write: Write, do
) -> None:
    script = write(
        """
        with pc.load(config) as dfk:
            read(sys.argv[1])["text"]
            dfk.wait_for_current_tasks()
            print("went on")
        """
    )
    do(script, "a")
    assert told("plan", script, "a")[1].startswith("went on\n")
    out = told("plan", script, "b")[1]
    assert "The script waits for its tasks, and read (task 0) would have to run." in out
    assert "went on" not in out and "Plan of 1 task: 1 runs" in out


def test_a_call_that_is_found_by_its_values_alone_has_its_value(
    told: Tell, write: Write, do
) -> None:
    body = """
        with pc.load(config) as dfk:
            read("a").result()
            print(clean(read("a")["text"]).result())
        """
    do(write(body))
    edited = HEAD.replace('return {"text": name}', "return dict(text=name)")
    do(write('with pc.load(config):\n    read("a").result()', edited))
    status, out, _ = told("plan", write(body, edited))
    assert status == 0 and out.startswith("A\n")


def test_a_damaged_record_is_none(told: Tell, write: Write, do, tmp_path: Path) -> None:
    body = """
        @pc.python_app(cache=True)
        def large():
            return bytes(range(256)) * 4096

        with pc.load(config):
            print(len(large().result()))
        """
    script = write(body)
    do(script)
    assert told("plan", script)[1].startswith("1048576\n")
    for path in (tmp_path / "runinfo").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000 and "blobs" in path.parts:
            path.unlink()
    assert "The script needs the result of large" in told("plan", script)[1]


def test_a_script_without_a_plan_is_told_at_its_end(told: Tell, write: Write, do) -> None:
    script = write(
        """
        pc.load(config)
        for name in sys.argv[1:]:
            clean(read(name)["text"])
        """
    )
    out = told("plan", script, "a", "b")[1]
    assert out.startswith("The script came to its end without a plan; it called these apps:\n")
    assert "Plan of 4 tasks: 4 run" in out


def test_a_script_without_calls_says_so(told: Tell, write: Write) -> None:
    assert "without calling an app" in told("plan", write("pc.load(config)"))[1]
    assert "without beginning a run" in told("plan", write("print('hello')"))[1]


def test_programs_of_parsl_are_told_too(told: Tell, write: Write) -> None:
    script = write(
        """
        from parsl_ckpt.compat import parsl
        from parsl_ckpt.compat.config import Config

        @parsl.python_app(cache=True)
        def double(x):
            return 2 * x

        parsl.load(Config(checkpoint_mode="task_exit", run_dir="runs"))
        print(double(1).result())
        """,
        "",
    )
    status, out, err = told("plan", script)
    assert (status, err) == (0, "") and "needs the result of double" in out
    assert not os.path.exists("runs")


# --- what goes wrong ------------------------------------------------------------------------------


def test_an_error_of_the_script_is_shown_from_its_own_lines_on(told: Tell, write: Write) -> None:
    status, out, err = told("plan", write("\n\ndef f():\n    1 / 0\n\nf()\n", ""))
    assert (status, out) == (1, "")
    assert err.count("File ") == 2 and "script.py" in err and "ZeroDivisionError" in err


def test_a_look_inside_the_block_of_a_plan_is_the_scripts_error(told: Tell, write: Write) -> None:
    status, _, err = told(
        "plan", write("with pc.load(config) as dfk, dfk.plan():\n    read('a').result()\n")
    )
    assert status == 1 and "PlanNotRunError" in err


@pytest.mark.parametrize(("end", "status"), [("3", 3), ("", 0), ("None", 0), ("'no'", 1)])
def test_the_status_is_that_of_the_script(told: Tell, write: Write, end: str, status: int) -> None:
    found, _, err = told("plan", write(f"sys.exit({end})"))
    assert found == status and ("no" in err) == (end == "'no'")


def test_a_script_that_cannot_be_read_is_named(told: Tell, write: Write) -> None:
    status, _, err = told("plan", "nowhere.py")
    assert status == 1 and "nowhere.py cannot be read: No such file" in err
    status, _, err = told("plan", write("def :\n", ""))
    assert status == 1 and "is no Python script" in err
    assert told("plan", "--tasks", "some", "script.py")[0] == 2
    assert told("plan")[0] == 2


# --- other forms ----------------------------------------------------------------------------------


def test_as_json_the_scripts_own_words_go_elsewhere(told: Tell, write: Write) -> None:
    script = write("print('hello')\n" + textwrap.dedent(PLANNED))
    status, out, err = told("plan", "--json", script, "a")
    found = json.loads(out)
    assert (status, err) == (0, "hello\n")
    assert (found["tasks"], found["run"], found["remark"]) == (2, 2, "")
    assert [one["app"] for one in found["apps"]] == ["read", "clean"]


def test_options_behind_the_script_are_the_scripts(told: Tell, write: Write) -> None:
    out = told("plan", "--tasks", "1", write(PLANNED), "--tasks", "--json")[1]
    assert "Plan of 4 tasks" in out and "and 3 more; --tasks all lists them." in out
    assert "more;" not in told("plan", "--tasks", "all", write(PLANNED), "a", "b")[1]


def test_a_task_is_told_in_full(told: Tell, write: Write, do) -> None:
    script = write(PLANNED)
    do(script, "a")
    out = told("plan", "--why", "read-0", "--why", "clean-2", script, "b")[1]
    assert "read-0\n  read: no earlier call is the same." in out and "name: 'a' → 'b'" in out
    assert "clean-2\n  clean: it takes read-0, which runs." in out
    status, _, err = told("plan", "--why", "nobody", script, "b")
    assert status == 1 and err.startswith("parsl-ckpt: The plan has no task 'nobody'")


def test_pictures_are_written_where_they_are_wanted(told: Tell, write: Write) -> None:
    told("plan", "--html", "plan.html", "--dot", "plan.dot", write(PLANNED), "a")
    assert "<svg" in Path("plan.html").read_text(encoding="utf-8")
    assert Path("plan.dot").read_text(encoding="utf-8").startswith("digraph plan {")


def test_a_picture_that_cannot_be_written_is_named(told: Tell, write: Write) -> None:
    status, _, err = told("plan", "--html", "nowhere/plan.html", write(PLANNED), "a")
    assert status == 1 and "nowhere/plan.html cannot be written: No such file" in err


def test_a_script_may_go_elsewhere(told: Tell, write: Write, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    script = write("import os; os.chdir('below')\n" + PLANNED)
    assert told("plan", "--dot", "plan.dot", script, "a")[0] == 0
    assert Path("plan.dot").exists() and Path.cwd() == tmp_path


def test_an_interrupted_script_is_interrupted(told: Tell, write: Write) -> None:
    status, _, err = told("plan", write("raise KeyboardInterrupt"))
    assert (status, err) == (130, "parsl-ckpt: interrupted\n")


def test_in_a_process_of_its_own(write: Write, do) -> None:
    script = write(PLANNED.replace("ThreadPool", "ProcessPool"))
    answer = subprocess.run(
        [sys.executable, "-m", "parsl_ckpt.cli", "plan", script, "a"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("Plan of 2 tasks: 2 run")


def test_named_sets_are_those_of_the_scripts_run_directory(told: Tell, write: Write, do) -> None:
    script = write(
        """
        from parsl_ckpt.plan import PersistSpec
        before, after = (name if name != "-" else None for name in sys.argv[1:3])
        with pc.load(config) as dfk:
            with dfk.plan(PersistSpec("runinfo", before, after)) as plan:
                read("a")
            plan.run().results()
        """
    )
    do(script, "-", "first")
    assert "none runs, 1 is restored" in told("plan", script, "first", "-")[1]
    out = told("plan", script, "second", "-")[1]
    assert "1 runs" in out and "the set 'second' does not name it" in out
