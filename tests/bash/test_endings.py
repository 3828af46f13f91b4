"""What becomes of commands when what started them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import parsl_ckpt as pc
from parsl_ckpt.kernel.guardian import Guardian
from tests.executors.helpers import environment
from tests.executors.test_processes import alive, until

DEADLINE = 60


@pytest.fixture
def script(here):
    """Run a program in a process group of its own."""
    started = []

    def start(text):
        (here / "script.py").write_text(textwrap.dedent(text))
        process = subprocess.Popen(
            [sys.executable, "script.py"], env=environment(), start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


WORKFLOW = """
    import parsl_ckpt as pc

    @pc.bash_app
    def command(bell):
        return f'''
            sleep 3600 & echo $$ > {{bell}}; echo $! > {{bell}}
            (sleep 3600 & echo $! > {{bell}}; wait)
        '''

    with pc.load(pc.Config(executors=[pc.{kind}(max_workers=1)], grace=0.1)):
        command("bell").result()
"""

KINDS = ["ThreadPoolExecutor", "ProcessPoolExecutor"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_command_ends_with_the_run_however_that_ends(script, bell, kind, how):
    _, ring = bell
    process = script(WORKFLOW.format(kind=kind))
    pids = [int(ring()) for _ in range(3)]
    assert all(map(alive, pids))
    process.send_signal(getattr(signal, how))
    process.wait()
    until(lambda: not any(map(alive, pids)))


def test_a_command_ends_with_its_worker(run, bell):
    run(executors=[pc.ProcessPoolExecutor(max_workers=1)])
    path, ring = bell

    @pc.bash_app
    def command():
        return f"echo $PPID > {path}; echo $$ > {path}; sleep 3600"

    future = command()
    worker, shell = int(ring()), int(ring())
    os.kill(worker, signal.SIGKILL)
    assert type(future.exception()).__name__ == "WorkerLostError"
    until(lambda: not alive(shell))


def test_a_command_that_was_killed_with_its_run_is_no_record(script, run, here, bell):
    _, ring = bell
    process = script("""
        import parsl_ckpt as pc

        @pc.bash_app(cache=True)
        def command(outputs=()):
            out = outputs[0]
            return f"echo half > {out}; echo $$ > bell; sleep 3600; echo whole >> {out}"

        with pc.load(pc.Config(checkpoint_mode="task_exit")):
            command(outputs=[pc.File("out")]).result()
    """)
    shell = int(ring())
    process.kill()
    process.wait()
    until(lambda: not alive(shell))
    assert (here / "out").read_text() == "half\n"  # nobody writes it any more
    dfk = run()
    assert all(count == 0 for _, count in dfk.loaded)


def test_a_guardian_that_was_killed_is_replaced(run):
    from parsl_ckpt.kernel.guardian import guardian

    run()

    @pc.bash_app
    def command():
        return "true"

    assert command().result() == 0
    before = guardian._process
    before.kill()
    before.wait()
    assert command().result() == 0
    assert guardian._process is not before


def test_closing_a_guardian_kills_what_is_on_its_list_and_nothing_else():
    guardian = Guardian()
    listed = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    other = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    gone = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    try:
        pipe = guardian.pipe()
        os.write(pipe, b"+ %d\n+ %d\n" % (gone.pid, listed.pid))
        guardian.ended(gone.pid)
        guardian.close()
        assert listed.wait(30) == -signal.SIGKILL
        assert other.poll() is None and gone.poll() is None
    finally:
        for process in (listed, other, gone):
            process.kill()
            process.wait()


def test_closing_one_that_never_began_is_harmless():
    guardian = Guardian()
    guardian.close()
    guardian.ended(1 << 30)


def test_a_forked_child_leaves_the_commands_of_its_parent_alone(run, bell):
    run()
    path, ring = bell

    @pc.bash_app
    def command():
        return f"echo $$ > {path}; read line < {path}2; test $line = go"

    os.mkfifo(f"{path}2")
    future = command()
    shell = int(ring())
    child = os.fork()
    if child == 0:
        os._exit(0)  # without the pipe, whose end would else be here
    os.waitpid(child, 0)
    assert alive(shell)
    with open(f"{path}2", "w") as file:
        file.write("go\n")
    assert future.result() == 0


@pytest.mark.parametrize("fails", [True, False])
def test_what_ends_after_its_run_is_not_said_to_be_a_failure_of_the_checkpoint(
    tmp_path, recwarn, fails
):
    gate, begun = threading.Event(), threading.Event()

    @pc.python_app(cache=True)
    def late(fails):
        begun.set()
        assert gate.wait(DEADLINE)
        if fails:
            raise ValueError
        return 1

    config = pc.Config(
        run_dir=tmp_path / "runs", checkpoint_mode="task_exit", grace=0,
        executors=[pc.ThreadPoolExecutor(max_workers=1)],
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt), pc.load(config) as dfk:
        future = late(fails)
        assert begun.wait(DEADLINE)
        raise KeyboardInterrupt
    gate.set()
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(DEADLINE)
    assert dfk.kernel.writer.flush().done.wait(DEADLINE)
    told = [str(one.message) for one in recwarn if one.category is pc.CheckpointWarning]
    assert not [text for text in told if "could not be written" in text]
