"""Plans across processes: what was persisted is cut away, also after a kill at any point."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from tests.executors.helpers import environment

SCRIPT = """
    import json, os, signal, sys
    import parsl_ckpt as pc

    dies_at = int(sys.argv[1]) if len(sys.argv) > 1 else 0

    def note(what):
        with open("ran", "a") as file:
            file.write(what + "\\n")
        if dies_at and sum(1 for _ in open("ran")) >= dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    @pc.python_app(cache=True)
    def source():
        if os.path.exists("source"):
            raise RuntimeError("the source is used up")
        open("source", "w").close()
        return list(range(6))

    @pc.python_app(cache=True)
    def square(xs, at):
        note(f"square {at}")
        return xs[at] ** 2

    @pc.python_app(cache=True)
    def total(parts):
        note("total")
        return sum(parts)

    one = [pc.ThreadPoolExecutor(max_workers=1)]
    with pc.load(pc.Config(checkpoint_mode="task_exit", executors=one)) as dfk:
        with dfk.plan() as plan:
            xs = source()
            parts = [square(xs, at) for at in range(6)]
            total(parts)
        with open("planned", "w") as file:
            json.dump([name.split("-")[0] for name in plan.look().run], file)
        outcomes = plan.run()
        trim = outcomes.trim
        print(json.dumps([outcomes.results(), len(trim.run), len(trim.restored), len(trim.cut)]))
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(SCRIPT))

    def run(*args):
        return subprocess.run(
            [sys.executable, str(path), *map(str, args)],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def ran(tmp_path):
    path = tmp_path / "ran"
    return path.read_text().splitlines() if path.exists() else []


def test_a_source_that_can_be_used_once_is_cut_away_in_the_second_run(program):
    first, second = program(), program()
    assert json.loads(first.stdout) == [[55], 8, 0, 0], first.stderr
    assert json.loads(second.stdout) == [[55], 0, 1, 7], second.stderr


@pytest.mark.parametrize("deaths", [[1], [3], [6], [7], [2, 4, 6]])
def test_a_run_that_was_killed_halfway_is_continued_where_it_was(program, tmp_path, deaths):
    before = 0
    for dies_at in deaths:
        assert program(dies_at).returncode == -9
        done = ran(tmp_path)
        # What the plan found recorded was not computed again, whatever had died before.
        assert sum(name.startswith("square") for name in done[before:]) <= planned(tmp_path)
        before = len(done)
    last = program()
    assert json.loads(last.stdout)[0] == [55], last.stderr
    done = ran(tmp_path)
    assert len(done) - before == planned(tmp_path, "square", "total")
    assert set(done) == {f"square {at}" for at in range(6)} | {"total"}
    again = program()
    assert json.loads(again.stdout)[1] == 0 and ran(tmp_path) == done


def planned(tmp_path, *apps):
    """How many calls of some apps were to run in the last life."""
    names = json.loads((tmp_path / "planned").read_text())
    return sum(name in (apps or ("square",)) for name in names)


def test_a_middle_that_is_lost_is_computed_from_what_stands_before_it(program, tmp_path):
    program()
    forget = """
        import parsl_ckpt as pc
        with pc.load(pc.Config(checkpoint_mode="task_exit")) as dfk:
            print(dfk.invalidate("total"), dfk.invalidate("square"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(forget)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "1 6\n", done.stderr
    again = program()
    assert json.loads(again.stdout) == [[55], 7, 1, 0], again.stderr  # the source is restored
