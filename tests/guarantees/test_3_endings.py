"""Promise 3: every orderly end flushes, in order, and SIGKILL loses at most what the mode says.

Four tasks run at each end.  They are held until a call that waits behind them is cancelled, which
the end does after it has saved what was complete and before it waits for what runs: an end in any
other order hangs, or leaves another checkpoint.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .helpers import Zygote, checkpoint, reading, visible

PROGRAM = """
import os, signal, sys, threading
import parsl_ckpt as pc
from parsl_ckpt.checkpoint.store import Store

mode, ending, run_dir = sys.argv[1:]
gate, running = threading.Event(), threading.Semaphore(0)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

@pc.python_app(cache=True)
def small(i):
    return i

@pc.python_app(cache=True)
def inner(i):
    return i + 1000

@pc.python_app(cache=True, code="name")
def held(i):
    running.release()
    gate.wait()
    if i == 100:
        inner(i).result()  # a task that runs may still call
    return i

def look_around(future):
    '''The first call that had not begun has been cancelled.'''
    with Store.open(None, sources=[dfk.checkpoint_dir], named=False) as seen:
        say("flushed", len(seen))
    try:
        small(-1)
    except pc.KernelClosedError:
        say("refused")
    say("cancelled", future.cancelled())
    gate.set()

config = pc.Config(
    executors=[pc.ThreadPoolExecutor(max_workers=4)],
    checkpoint_mode=None if mode == "None" else mode,
    checkpoint_period=3600,
    run_dir=run_dir,
)

def work():
    for future in [small(i) for i in range(50)]:
        future.result()
    if mode == "manual":
        dfk.checkpoint()
        for i in range(50, 60):
            small(i).result()
    under_way = [held(100 + i) for i in range(4)]
    for _ in under_way:
        running.acquire()
    held(104).add_done_callback(look_around)
    for i in range(105, 110):
        held(i)

if ending == "with":
    with pc.load(config) as dfk:
        work()
else:
    dfk = pc.load(config)
    work()
if ending == "cleanup":
    dfk.cleanup()
elif ending == "exception":
    raise ValueError("the end")
elif ending.startswith("SIG"):
    number = getattr(signal, ending)
    if ending == "SIGINT":  # a shell starts background jobs with it ignored
        signal.signal(number, signal.default_int_handler)
    os.kill(os.getpid(), number)
    threading.Event().wait()  # until the signal is acted upon
"""

STATUS = {
    "plain": 0, "with": 0, "cleanup": 0, "exception": 1, "SIGINT": -signal.SIGINT,
    "SIGTERM": -signal.SIGTERM, "SIGKILL": -signal.SIGKILL,
}  # fmt: skip
ORDERLY = {*range(50), *range(100, 104), 1100}
MODES = ["task_exit", "periodic", "dfk_exit", "manual", "None"]


@pytest.mark.parametrize("ending", STATUS)
@pytest.mark.parametrize("mode", MODES)
def test_fifty_tasks_done_and_four_running(
    zygote: Zygote, runs: Path, mode: str, ending: str
) -> None:
    ended = zygote.run(PROGRAM, mode, ending, runs)
    assert ended.status == STATUS[ending], ended
    done = ORDERLY | (set(range(50, 60)) if mode == "manual" else set())
    found = visible(checkpoint(runs))
    assert len(found) == len(set(found)), "recorded twice"
    if ending == "SIGKILL":
        assert set(found) == (set(range(50)) if mode in ("task_exit", "manual") else set())
        assert ended.lines == []
        return
    assert set(found) == (set() if mode == "None" else done), ended
    assert ended.data("flushed") == {"manual": 60, "None": 0}.get(mode, 50)
    assert "refused" in ended.lines and ended.said("cancelled") == ["True"]
    assert "parsl_ckpt" not in ended.errors.replace("parsl_ckpt/", ""), ended.errors


@pytest.mark.parametrize("ending", ["plain", "SIGTERM", "exception"])
def test_the_end_seals(zygote: Zygote, runs: Path, ending: str) -> None:
    """The next run opens an index and scans nothing."""
    zygote.run(PROGRAM, "task_exit", ending, runs)
    with reading(checkpoint(runs)) as store:
        assert all(segment.sealed for segment in store._all_segments())


SIGNALS = """
import os, signal, sys, threading, time
import parsl_ckpt as pc

what, run_dir = sys.argv[1:]
never, running = threading.Event(), threading.Semaphore(0)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

@pc.python_app(cache=True)
def small(i):
    return i

@pc.python_app(cache=True, code="name")
def stuck(i):
    running.release()
    never.wait()

def handler(number, frame):
    with pc.Store.open(None, sources=[dfk.checkpoint_dir], named=False) as seen:
        say("mine", number, len(seen))
    sys.exit(7)

def begin(grace=0.2):
    global dfk
    dfk = pc.load(pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=1)], checkpoint_mode="dfk_exit",
        run_dir=run_dir, grace=grace,
    ))
    for i in range(5):
        small(i).result()

def hold():
    stuck(0)
    running.acquire()
    stuck(1).add_done_callback(lambda _: say("ending"))
"""


def test_a_second_sigterm_ends_at_once(zygote: Zygote, runs: Path) -> None:
    script = zygote.begin(
        SIGNALS + "begin(grace=3600); hold(); say('ready'); never.wait()", "", runs
    )
    script.until("ready")
    script.signal(signal.SIGTERM)
    script.until("ending")  # what was complete has been saved
    script.signal(signal.SIGTERM)
    assert script.end().status == -signal.SIGTERM
    assert visible(checkpoint(runs)) == list(range(5))


@pytest.mark.parametrize("ending", ["SIGTERM", "exception", "with-exception"])
def test_a_stuck_task_delays_the_end_by_no_more_than_the_grace(
    zygote: Zygote, runs: Path, ending: str
) -> None:
    last = {
        "SIGTERM": "begin(); hold(); os.kill(os.getpid(), signal.SIGTERM); never.wait()",
        "exception": "begin(); hold(); 1 / 0",
        "with-exception": "begin()\nwith dfk:\n    hold()\n    1 / 0",
    }[ending]
    ended = zygote.run(SIGNALS + last, "", runs)
    assert ended.status == (-signal.SIGTERM if ending == "SIGTERM" else 1), ended
    assert visible(checkpoint(runs)) == list(range(5))


def test_a_handler_that_was_there_before_is_honoured(zygote: Zygote, runs: Path) -> None:
    ended = zygote.run(
        SIGNALS
        + "signal.signal(signal.SIGTERM, handler); begin()\n"
        + "os.kill(os.getpid(), signal.SIGTERM); never.wait()",
        "",
        runs,
    )
    assert ended.status == 7, ended
    assert ended.lines == [f"mine {int(signal.SIGTERM)} 5"], "it is called after all is saved"
    assert visible(checkpoint(runs)) == list(range(5))


def test_an_ignored_sigterm_stays_ignored(zygote: Zygote, runs: Path) -> None:
    ended = zygote.run(
        SIGNALS
        + "signal.signal(signal.SIGTERM, signal.SIG_IGN); begin()\n"
        + "os.kill(os.getpid(), signal.SIGTERM); print(small(5).result())",
        "",
        runs,
    )
    assert (ended.status, ended.lines) == (0, ["5"]), ended
    assert visible(checkpoint(runs)) == list(range(6))


def test_what_was_installed_is_gone_with_the_last_kernel(zygote: Zygote, runs: Path) -> None:
    ended = zygote.run(
        SIGNALS
        + """
signal.signal(signal.SIGTERM, handler)
begin(); first = dfk; pc.clear(); begin()
first.cleanup()
say("with one", signal.getsignal(signal.SIGTERM) is handler)
dfk.cleanup()
say("with none", signal.getsignal(signal.SIGTERM) is handler, signal.set_wakeup_fd(-1))
""",
        "",
        runs,
    )
    assert ended.lines == ["with one False", "with none True -1"], ended


def test_nothing_is_installed_off_the_main_thread(zygote: Zygote, runs: Path) -> None:
    ended = zygote.run(
        SIGNALS
        + """
thread = threading.Thread(target=begin); thread.start(); thread.join()
say("handler", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.set_wakeup_fd(-1))
thread = threading.Thread(target=dfk.cleanup); thread.start(); thread.join()
""",
        "",
        runs,
    )
    assert ended.lines == ["handler True -1"], ended
    assert visible(checkpoint(runs)) == list(range(5))


def test_sigterm_during_a_long_c_call_of_the_main_thread(zygote: Zygote, runs: Path) -> None:
    """The interpreter runs no handler then; the watcher does not need it to."""
    script = zygote.begin(
        SIGNALS + "import hashlib; begin(); say('ready')\n"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",
        "",
        runs,
    )
    script.until("ready")
    script.signal(signal.SIGTERM)
    assert script.end().status == -signal.SIGTERM
    assert visible(checkpoint(runs)) == list(range(5))


@pytest.mark.parametrize(
    "end", ["sys.exit(3)", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"]
)
def test_a_forked_child_does_not_end_its_parents_run(zygote: Zygote, runs: Path, end: str) -> None:
    ended = zygote.run(
        SIGNALS
        + f"""
begin()
child = os.fork()
if child == 0:
    {end}
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
say("child", status)
say("own", small(5).result())
""",
        "",
        runs,
    )
    status = 3 if end.startswith("sys") else -int(signal.SIGTERM)
    assert (ended.status, ended.lines) == (0, [f"child {status}", "own 5"]), ended
    assert visible(checkpoint(runs)) == list(range(6))


def test_a_program_that_embeds_asyncio_keeps_its_loop(zygote: Zygote, runs: Path) -> None:
    """The wake-up descriptor belongs to the event loop there, and SIGTERM still saves."""
    ended = zygote.run(
        SIGNALS
        + """
import asyncio
async def main():
    begin()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)
asyncio.run(main())
""",
        "",
        runs,
    )
    assert ended.status == -signal.SIGTERM, ended
    assert visible(checkpoint(runs)) == list(range(5))


PROCESSES = """
import os, signal, sys, threading, time
import parsl_ckpt as pc

ending, run_dir, here = sys.argv[1:]

@pc.python_app(cache=True)
def small(i):
    return i

@pc.python_app(cache=True, ignore_for_cache=["here"])
def held(i, here):
    import os, time
    open(os.path.join(here, f"running-{i}"), "w").close()
    while not os.path.exists(os.path.join(here, "go")):
        time.sleep(0.005)
    return i

dfk = pc.load(pc.Config(
    executors=[pc.ProcessPoolExecutor(max_workers=2, in_flight=1)], checkpoint_mode="dfk_exit",
    run_dir=run_dir, grace=1.0 if ending == "stuck" else 60,
))
for future in [small(i) for i in range(20)]:
    future.result()
held(100, here), held(101, here)
while len(os.listdir(here)) < 2:
    time.sleep(0.005)
if ending != "stuck":
    late = [held(i, here) for i in range(102, 105)]
    late[-1].add_done_callback(lambda _: open(os.path.join(here, "go"), "w").close())
if ending == "exception":
    raise ValueError("the end")
elif ending != "plain":
    number = signal.SIGTERM if ending == "stuck" else getattr(signal, ending)
    os.kill(os.getpid(), number)
    threading.Event().wait()
"""


@pytest.mark.parametrize("ending", ["plain", "exception", "SIGINT", "SIGTERM", "SIGKILL", "stuck"])
def test_worker_processes_end_with_the_run(
    zygote: Zygote, runs: Path, tmp_path: Path, ending: str
) -> None:
    """The output of a script ends when the last process that inherited it has ended."""
    here = tmp_path / "here"
    here.mkdir()
    ended = zygote.run(PROCESSES, ending, runs, here)
    assert ended.status == {**STATUS, "stuck": -signal.SIGTERM}[ending], ended
    drained = {*range(20), 100, 101}
    expected = {"SIGKILL": set(), "stuck": set(range(20))}.get(ending, drained)
    assert set(visible(checkpoint(runs))) == expected, ended
