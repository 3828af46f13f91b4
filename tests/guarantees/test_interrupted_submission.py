"""Ctrl-C a thousand times during submission leaves a kernel that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from .helpers import Zygote, checkpoint, visible

PROGRAM = """
import concurrent.futures, contextlib, itertools, json, os, random, signal, sys, threading, time
import parsl_ckpt as pc

kind, run_dir, times, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
signal.signal(signal.SIGINT, signal.default_int_handler)

@pc.python_app(cache=True)
def value(n):
    return n

@pc.python_app(cache=True)
def add(a, b):
    return a + b

@pc.python_app
def plain(n):
    return {"n": n}

@pc.join_app
def joined(n):
    return add(value(n), value(n + 1))

numbers = itertools.count()
caught = begun = 0
GIVEN_UP = (pc.DependencyError, pc.JoinError, concurrent.futures.CancelledError)
kept = []

def some_calls():
    '''Every way of calling, some of it seen before.'''
    global begun
    n = next(numbers) % 3000
    begun = max(begun, n + 1)
    kept.append(value(n))
    kept.append(add(value(n), value(n // 2)))
    kept.append(add(kept[-1], value(n // 3)))
    kept.append(plain(kept[-1])["n"])
    if n % 7 == 0:
        kept.append(joined(n))
    if n % 11 == 0:
        kept[-2].cancel()
    if n % 13 == 0:
        with contextlib.suppress(*GIVEN_UP):
            kept[-1].result()
    if n % 17 == 0:
        for _ in value.map(range(n, n + 5), max_in_flight=2):
            pass
    del kept[:-50]

def interrupt():
    '''From another thread: real signals, at any moment after the last one was noticed.'''
    chance = random.Random(seed)
    for number in range(times):
        while caught < number:
            time.sleep(0)
        wait_until = time.perf_counter() + chance.random() * 0.003
        while time.perf_counter() < wait_until:
            time.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)

pool = pc.ThreadPoolExecutor if kind == "threads" else pc.ProcessPoolExecutor
def load():
    return pc.load(pc.Config(executors=[pool(max_workers=2)], checkpoint_mode="task_exit",
                             run_dir=run_dir, retries=1))
dfk = load()
sender = threading.Thread(target=interrupt, daemon=True)
sender.start()
while caught < times:
    try:
        while caught < times:
            some_calls()
    except KeyboardInterrupt:
        caught += 1
sender.join()

def main():
    deadline = time.monotonic() + 100
    left = lambda: max(0.0, deadline - time.monotonic())
    for future in kept:  # all that anyone still holds comes to an end
        with contextlib.suppress(*GIVEN_UP):
            future.result(left())
    for n in range(begun):
        assert value(n).result(left()) == n
        assert add(value(n), value(n // 2)).result(left()) == n + n // 2
    dfk.wait_for_current_tasks()
    states = {s: c for s, c in dfk.counts().items() if c}
    assert not {"pending", "launched", "running", "unsched", "joining"} & set(states), states
    assert not dfk.kernel.tasks and not dfk.kernel.memo.inflight
    print("states", json.dumps(states))
    dfk.cleanup()
    with load() as after:
        for n in range(begun):
            assert add(value(n), value(n // 2)).result(left()) == n + n // 2
        print("again", after.counts()["exec_done"], after.counts()["memo_done"] > begun)

main()
print("begun", begun)
"""


@pytest.mark.parametrize(
    ("kind", "times", "seed"),
    [
        ("threads", 1000, 1),
        pytest.param("threads", 5000, 2, marks=pytest.mark.slow),
        pytest.param("processes", 1000, 3, marks=pytest.mark.slow),
    ],
)
def test_a_thousand_ctrl_c(zygote: Zygote, runs: Path, kind: str, times: int, seed: int) -> None:
    ended = zygote.run(PROGRAM, kind, runs, times, seed)
    assert ended.status == 0, ended
    assert ended.said("again") == ["0 True"], ended
    begun = ended.data("begun")
    assert begun >= 50, "it was to call something between the interruptions"
    assert set(visible(checkpoint(runs), app="value")) >= set(range(begun))
    # An error in a thread of ours is printed, or logged, not raised.
    assert "Traceback" not in ended.errors, ended
