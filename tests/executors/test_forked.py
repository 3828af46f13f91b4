"""What a process can do that was forked from one with a run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.executors.helpers import environment

DEADLINE = 60

BEGIN = """
    import os, sys
    import parsl_ckpt as pc

    @pc.python_app(cache=True)
    def double(x):
        return 2 * x

    def forked(what):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                what()
            except BaseException as error:
                print(type(error).__name__, error)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)

    threads = pc.ThreadPoolExecutor(max_workers=1)
    config = pc.Config(executors=[threads], checkpoint_mode="task_exit")
"""


def output_of(tmp_path, text):
    (tmp_path / "script.py").write_text(textwrap.dedent(BEGIN) + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"], env=environment(), cwd=tmp_path,
        capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_calls_are_refused_in_a_forked_child_rather_than_waited_for(tmp_path):
    said = output_of(
        tmp_path,
        """
        with pc.load(config) as dfk:
            first = double(1)
            assert first.result() == 2
            forked(lambda: double(2))
            forked(dfk.wait_for_current_tasks)
            forked(lambda: print("known:", first.result()))
            print("parent:", double(3).result())
        """,
    )
    first, second, third, last = said.splitlines()
    for line in (first, second):
        assert line.startswith("KernelClosedError This process (") and "load() a run of its" in line
    assert (third, last) == ("known: 2", "parent: 6")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_leaves_the_run_to_its_parent_and_may_have_its_own(tmp_path):
    said = output_of(
        tmp_path,
        """
        def own():
            with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)])):
                print("child:", double(5).result())

        with pc.load(config) as dfk:
            double(1).result()
            forked(dfk.cleanup)
            forked(own)
            print("parent:", double(3).result())
        with pc.load(config):
            print([double(x).from_memo for x in (1, 3)])
        """,
    )
    assert said.splitlines() == ["child: 10", "parent: 6", "[True, True]"]
