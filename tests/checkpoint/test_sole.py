"""Being the only one: claims by files, of threads, processes and the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from parsl_ckpt.checkpoint import heartbeat
from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.memory import MemoryBackend
from parsl_ckpt.checkpoint.sole import sole

DEADLINE = 30.0


class Refused(Exception):
    pass


def refuse(path, beat):
    return Refused(path, beat)


def claim(place, stem="run", backend=None, **options):
    return sole(backend or LocalBackend(), str(place), stem, refuse, **options)


def put(place, name, **facts):
    """A file as another claimant has left it."""
    (place / name).write_text(json.dumps({**heartbeat.identify(), "beat": time.time(), **facts}))


def test_a_claim_is_held_for_the_time_of_a_block(tmp_path):
    with claim(tmp_path):
        (name,) = os.listdir(tmp_path)
        beat = json.loads((tmp_path / name).read_text())
        assert (beat["pid"], beat["stage"]) == (os.getpid(), "running")
        with pytest.raises(Refused) as caught, claim(tmp_path):
            pass
        path, told = caught.value.args
        assert (path, told["pid"]) == (str(tmp_path / name), os.getpid())
        with claim(tmp_path, "other"):
            pass
    assert os.listdir(tmp_path) == []
    with claim(tmp_path):
        pass


def test_it_works_over_any_backend():
    backend = MemoryBackend()
    backend.make_directory("runs")
    with claim("runs", backend=backend), pytest.raises(Refused), claim("runs", backend=backend):
        pass
    with claim("runs", backend=backend):
        pass


def test_an_error_in_the_block_gives_it_back(tmp_path):
    with pytest.raises(ZeroDivisionError), claim(tmp_path):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_what_the_dead_have_left_is_removed(tmp_path):
    put(tmp_path, "run-1", pid=2**22 - 1, stage="running")
    put(tmp_path, "run-2", ended=time.time(), stage="running")
    put(tmp_path, "run-3", host="elsewhere", beat=0.0, stage="running")
    put(tmp_path, "run-4", start="1", stage="claiming")  # a number that is used again
    with claim(tmp_path):
        assert len(os.listdir(tmp_path)) == 1


def test_somebody_elsewhere_is_believed_for_a_while(tmp_path):
    put(tmp_path, "run-1", host="elsewhere", stage="running")
    with pytest.raises(Refused), claim(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["run-1"]


def test_a_file_that_says_nothing_is_reckoned_with_until_it_is_old(tmp_path):
    path = tmp_path / "run-1"
    path.touch()
    pauses = []
    with pytest.raises(Refused), claim(tmp_path, pause=pauses.append):
        pass
    assert len(pauses) > 3
    assert pauses[-1] > pauses[0] > 0
    assert os.listdir(tmp_path) == ["run-1"]
    os.utime(path, (0, 0))
    with claim(tmp_path):
        assert not path.exists()


def test_one_that_is_only_claiming_is_waited_for(tmp_path):
    put(tmp_path, "run-1", stage="claiming")
    with claim(tmp_path, pause=lambda seconds: (tmp_path / "run-1").unlink()):
        assert len(os.listdir(tmp_path)) == 1


def test_where_nothing_can_be_written_nothing_is_claimed(tmp_path):
    with pytest.raises(OSError, match="missing"), claim(tmp_path / "missing"):
        pass


def test_threads_that_claim_at_once_are_never_two(tmp_path):
    inside, most, had, refused = [0], [0], [0], [0]
    lock, start = threading.Lock(), threading.Barrier(6)

    def work():
        start.wait(DEADLINE)
        for _ in range(6):
            try:
                with claim(tmp_path):
                    with lock:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                        had[0] += 1
                    os.listdir(tmp_path)
                    with lock:
                        inside[0] -= 1
            except Refused:
                with lock:
                    refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] == 1
    assert had[0] + refused[0] == 36
    assert os.listdir(tmp_path) == []


HOLDER = """
import sys
from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.sole import sole

with sole(LocalBackend(), sys.argv[1], "run", lambda *args: RuntimeError(args)):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_process_that_is_killed_has_it_no_more(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Refused) as caught, claim(tmp_path):
            pass
        assert caught.value.args[1]["pid"] == holder.pid
        holder.send_signal(signal.SIGSTOP)  # stopped is not dead
        with pytest.raises(Refused), claim(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with claim(tmp_path):
        pass
