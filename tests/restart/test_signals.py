"""Signals: heard by open sessions, answered after a commit, and never in anybody's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from parsl_ckpt.errors import CheckpointedStop
from parsl_ckpt.kernel import shutdown
from parsl_ckpt.restart.signals import Watch, _heard

SIGNALS = [signal.SIGTERM, signal.SIGUSR1]


@pytest.fixture
def watch():
    watch = Watch()
    watch.open()
    yield watch
    watch.close()


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_due_until_it_is_answered(watch, number):
    assert not watch.due
    signal.raise_signal(number)
    assert watch.due
    watch.answer()
    assert not watch.due


@pytest.mark.parametrize("number", SIGNALS)
def test_who_wants_to_stop_is_stopped_when_it_answers(number):
    watch = Watch(stop=True)
    watch.open()
    watch.answer()  # nothing was asked
    signal.raise_signal(number)
    with pytest.raises(CheckpointedStop, match=signal.Signals(number).name) as stop:
        watch.answer()
    assert stop.value.signal == signal.Signals(number).name
    watch.close()


def test_what_came_before_a_session_is_nothing_to_it(watch):
    signal.raise_signal(signal.SIGUSR1)
    other = Watch()
    other.open()
    assert watch.due
    assert not other.due
    other.close()


def test_every_open_session_hears(watch):
    other = Watch()
    other.open()
    signal.raise_signal(signal.SIGUSR1)
    watch.answer()
    assert other.due
    other.close()


def test_a_handler_of_the_user_is_called_as_it_was():
    called = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: called.append(number))
    try:
        watch = Watch()
        watch.open()
        signal.raise_signal(signal.SIGUSR1)
        assert watch.due
        assert called == [signal.SIGUSR1]
        watch.close()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        watch = Watch()
        watch.open()
        signal.raise_signal(signal.SIGUSR1)
        assert not watch.due
        watch.close()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_is_installed_over_ours_is_left_alone(watch):
    mine = lambda number, frame: None  # noqa: E731
    ours = signal.signal(signal.SIGUSR1, mine)
    watch.close()
    assert signal.getsignal(signal.SIGUSR1) is mine
    signal.signal(signal.SIGUSR1, ours)
    watch.open()  # and the next session finds its own again


def test_other_threads_open_sessions_without_a_handler_of_their_own():
    heard = []

    def session():
        watch = Watch()
        watch.open()
        heard.append(signal.getsignal(signal.SIGUSR1))
        watch.close()

    thread = threading.Thread(target=session)
    thread.start()
    thread.join()
    assert heard == [signal.getsignal(signal.SIGUSR1)]


def test_a_kernel_that_ends_tells_sessions_and_waits_for_their_answers(watch):
    assert _heard in shutdown.companions
    _heard.told()
    assert watch.due
    answered = threading.Timer(0.0, watch.answer)
    answered.start()
    _heard.last_words()
    assert not watch.due
    answered.join()


def test_a_forked_child_dies_of_sigterm_as_others_do(watch):
    pid = os.fork()
    if pid == 0:
        signal.raise_signal(signal.SIGTERM)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def run(script: str, directory: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(os.path.abspath(part) for part in sys.path if part)
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=directory, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def test_a_second_sigterm_ends_the_process(tmp_path):
    script = """
import signal
from parsl_ckpt.restart.signals import Watch
watch = Watch()
watch.open()
signal.raise_signal(signal.SIGTERM)
watch.answer()
print("on", flush=True)
signal.raise_signal(signal.SIGTERM)
print("never", flush=True)
"""
    done = run(script, tmp_path)
    assert done.stdout == "on\n", done.stderr
    assert done.returncode == -signal.SIGTERM


KERNEL = """
import os, signal, parsl_ckpt
from parsl_ckpt.errors import CheckpointedStop
from parsl_ckpt.restart.signals import Watch

def loop(stop):
    watch = Watch(stop=stop)
    watch.open()
    os.kill(os.getpid(), signal.SIGTERM)
    while not watch.due:
        pass
    open("committed", "w").close()
    try:
        watch.answer()
    except CheckpointedStop:
        print("stopped", flush=True)
        watch.close()
        raise
    while not os.path.exists("never"):
        pass
"""


def test_a_loaded_kernel_ends_and_the_process_dies_after_the_commit(tmp_path):
    script = KERNEL + "parsl_ckpt.load()\nloop(stop=False)\n"
    done = run(script, tmp_path)
    assert (tmp_path / "committed").exists(), done.stderr
    assert done.returncode == -signal.SIGTERM, done.stderr


def test_a_session_that_is_opened_before_the_kernel_is_told_as_well(tmp_path):
    script = KERNEL + (
        "first = Watch()\nfirst.open()\nparsl_ckpt.load()\n"
        "try:\n    loop(stop=True)\nexcept CheckpointedStop as stop:\n    print(stop.signal)\n"
        "print(first.due)\n"
    )
    done = run(script, tmp_path)
    assert done.stdout == "stopped\nSIGTERM\nTrue\n", done.stderr
    assert done.returncode == 0


def test_a_task_on_a_thread_hears_of_what_ends_the_kernel(tmp_path):
    script = KERNEL + (
        "parsl_ckpt.load()\n"
        "parsl_ckpt.python_app(loop)(True)\n"
        "import threading\n"
        "threading.Event().wait()\n"
    )
    done = run(script, tmp_path)
    assert (tmp_path / "committed").exists(), done.stderr
    assert done.returncode == -signal.SIGTERM, done.stderr
