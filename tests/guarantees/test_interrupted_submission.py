"""Ctrl-C a thousand times during submission leaves a kernel that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from .helpers import Zygote, checkpoint, visible

PROGRAM = """
import concurrent.futures, contextlib, itertools, json, os, random, signal, sys, time
import parsl_ckpt as pc

kind, run_dir, times, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

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
    n = next(numbers)
    begun = max(begun, n + 1)
    kept.append(value(n))
    kept.append(add(value(n), value(n // 2)))
    kept.append(add(kept[-1], value(n // 3)))
    kept.append(plain(kept[-1])["n"])
    if n % 7 == 0:
        kept.append(joined(n))
    if n % 11 == 0:
        kept[-2].cancel()
    if n % 97 == 0:
        with contextlib.suppress(*GIVEN_UP):
            kept[-1].result()
    if n % 89 == 0:
        for _ in value.map(range(n, n + 5), max_in_flight=2):
            pass
    del kept[:-50]

def on_sigint(number, frame):
    '''Python's own handler, but for signals that come while the last one is being noticed.'''
    global armed
    if armed:
        armed = False
        signal.default_int_handler(number, frame)

armed = False
signal.signal(signal.SIGINT, on_sigint)
sender = os.fork()
if sender == 0:  # from another process: real signals, at any moment
    chance, parent = random.Random(seed), os.getppid()
    while os.getppid() == parent:
        time.sleep(chance.random() * 0.002)
        os.kill(parent, signal.SIGINT)
    os._exit(0)

pool = pc.ThreadPoolExecutor if kind == "threads" else pc.ProcessPoolExecutor
def load():
    return pc.load(pc.Config(executors=[pool(max_workers=2)], checkpoint_mode="task_exit",
                             run_dir=run_dir, retries=1))
dfk = load()
while caught < times:
    try:
        armed = True
        while True:
            some_calls()
    except KeyboardInterrupt:
        caught += 1
    except RuntimeError as error:  # what Condition.wait makes of it, at one place
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        caught += 1
os.kill(sender, signal.SIGKILL)
os.waitpid(sender, 0)

def main():
    deadline = time.monotonic() + 100
    left = lambda: max(0.0, deadline - time.monotonic())
    for future in kept:  # all that anyone still holds comes to an end
        with contextlib.suppress(*GIVEN_UP):
            future.result(left())
    # Of all that was begun so many that a slow machine comes to an end as well.
    some = range(0, begun, begun // 5000 + 1)
    for n in some:
        assert value(n).result(left()) == n
        assert add(value(n), value(n // 2)).result(left()) == n + n // 2
    dfk.wait_for_current_tasks()
    states = {s: c for s, c in dfk.counts().items() if c}
    assert not {"pending", "launched", "running", "unsched", "joining"} & set(states), states
    assert not dfk.kernel.tasks and not dfk.kernel.memo.inflight
    print("states", json.dumps(states))
    dfk.cleanup()
    with load() as after:
        for n in some:
            assert add(value(n), value(n // 2)).result(left()) == n + n // 2
        print("again", after.counts()["exec_done"], after.counts()["memo_done"] > len(some))

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
    some = set(range(0, begun, begun // 5000 + 1))
    assert set(visible(checkpoint(runs), app="value")) >= some
    # An error in a thread of ours is printed, or logged, not raised.
    assert "Traceback" not in ended.errors, ended
