"""Promise 5 with many runs at once: they begin together, share work, die, and damage nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import heartbeat
from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.maintain import verify

from .helpers import Zygote, checkpoint, reading, visible

STARTS = """
    import os, sys, traceback
    import parsl_ckpt as pc

    runs, count = sys.argv[1], int(sys.argv[2])
    ready, go = os.pipe(), os.pipe()

    @pc.python_app(cache=True)
    def own(n):
        return n * n

    def begin(n):
        os.close(go[1])
        os.write(ready[1], b"r")
        os.read(go[0], 1)  # the end of the file, for all of them at once
        with pc.load(pc.Config(run_dir=runs, checkpoint_mode="task_exit")) as dfk:
            assert own(n).result() == n * n
            os.write(1, f"began {dfk.run_id}\\n".encode())

    children = []
    for n in range(count):
        child = os.fork()
        if child == 0:
            try:
                begin(n)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    for _ in children:
        assert os.read(ready[0], 1) == b"r"
    os.close(go[1])
    print("status", [os.waitpid(child, 0)[1] for child in children])
"""

WORKER = """
    import os, random, sys
    import parsl_ckpt as pc

    runs, seed, options = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])

    @pc.python_app(cache=True)
    def part(n):
        os.write(1, f"ran {n}\\n".encode())
        return [n] * (n + 1)

    @pc.python_app(cache=True)
    def whole(parts):
        return sum(map(sum, parts))

    order = list(range(24))
    random.Random(seed).shuffle(order)
    with pc.load(pc.Config(run_dir=runs, checkpoint_mode="task_exit", **options)):
        for n in order:
            print("value", n, part(n).result() == [n] * (n + 1), flush=True)
        print("whole", whole([part(n) for n in range(24)]).result(), flush=True)
"""


def test_sixty_four_simultaneous_starts_all_succeed(zygote: Zygote, runs: Path) -> None:
    ended = zygote.run(STARTS, runs, 64)
    assert ended.data("status") == [0] * 64, ended
    numbers = sorted(int(number) for number in ended.said("began"))
    assert numbers == list(range(64)), "each has a number of its own, and none is left out"
    paths = [checkpoint(runs, f"{number:03d}") for number in numbers]
    assert sorted(visible(*paths, app="own")) == [n * n for n in range(64)]
    for number in numbers:
        beat = heartbeat.read(LocalBackend(), f"{runs}/{number:03d}/{heartbeat.NAME}")
        assert beat is not None and "ended" in beat


@pytest.mark.parametrize("options", [{}, {"follow": True}, {"single_flight": "shared"}], ids=str)
def test_runs_at_the_same_time_get_right_values_whoever_of_them_dies(
    zygote: Zygote, runs: Path, options: dict[str, object]
) -> None:
    scripts = [zygote.begin(WORKER, runs, seed, options) for seed in range(4)]
    scripts[0].until("value")
    scripts[0].signal(9)
    ended = [script.end() for script in scripts[1:]]
    scripts[0].end()
    for one in ended:
        assert one.status == 0 and one.said("whole") == [str(sum(n * (n + 1) for n in range(24)))]
        assert all(line.endswith("True") for line in one.said("value"))
    if options:
        ran = [line for one in ended for line in one.said("ran")]
        assert len(ran) < 3 * 24, "they have shared some of the work at least"
    assert verify(runs).good, "nobody has damaged anything"
    assert len(visible(*sorted(runs.glob("*/checkpoint")), app="whole")) >= 1
    leases = runs / "leases"
    assert not leases.exists() or len(list(leases.iterdir())) <= 8, "only the dead leaves any"
    with reading(*sorted(runs.glob("*/checkpoint"))) as store:
        assert [p for p in store.problems if p.kind != "directory"] == []


def test_a_run_reads_what_it_may_not_write_to(zygote: Zygote, runs: Path) -> None:
    """Reading changes nothing: no lock, no time of use, no note."""
    first = zygote.run(WORKER, runs, 1, {})
    assert first.status == 0
    directory = checkpoint(runs)
    before = {path: path.stat().st_mtime_ns for path in (directory, *directory.rglob("*"))}
    again = zygote.run(WORKER, runs, 2, {"follow": True})
    assert again.status == 0 and again.said("ran") == []
    assert {path: path.stat().st_mtime_ns for path in (directory, *directory.rglob("*"))} == before
