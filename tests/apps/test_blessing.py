"""Blessing: an edit that does not matter keeps what was computed, and one that does does not."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.cli import main
from parsl_ckpt.errors import BlessingError, CacheKeyError
from parsl_ckpt.kernel import specimens

DEADLINE = 60
BEFORE = "return 2 * x"
SAME = "return x + x"
OTHER = "return 2 * x if x < 2 else 0"
numbers = itertools.count()


def app(body: str, declared: str = "cache=True") -> Any:
    """The app ``work`` with a body, as if its module were imported anew."""
    module = types.ModuleType(f"edited_{next(numbers)}")
    source = f"import parsl_ckpt as pc\n@pc.python_app({declared})\ndef work(x):\n    {body}\n"
    exec(compile(source, f"<{module.__name__}>", "exec"), vars(module))
    return module.work


@pytest.fixture
def load(tmp_path):
    def begin(**options):
        pc.clear()
        options = {"checkpoint_mode": "task_exit", "run_dir": tmp_path / "runs", **options}
        return pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)], **options))

    yield begin
    pc.clear()


def compute(load, body: str = BEFORE, count: int = 10, **options: Any) -> None:
    with load(**options):
        work = app(body)
        assert [f.result(DEADLINE) for f in [work(n) for n in range(count)]]


def hits(work: Any, count: int = 10) -> int:
    return sum(work.peek(n) is not None for n in range(count))


def test_what_an_equal_version_computed_is_used_from_then_on(load):
    compute(load)
    with load() as dfk:
        work = app(SAME)
        assert hits(work) == 0
        done = dfk.bless(work, sample=2)
        assert (done.records, len(done.blessed), len(done.executed)) == (10, 1, 2)
        assert hits(work) == 10 and work(3).from_memo and work(3).result() == 6
    with load():
        assert hits(app(SAME)) == 10, "later runs find them too"
        assert hits(app(OTHER)) == 0


def test_one_that_gives_other_values_is_refused_and_nothing_is_filed(load):
    compute(load)
    with load() as dfk:
        work = app(OTHER)
        done = dfk.bless(work)
        (why,) = done.refused.values()
        assert "another value" in why and (done.records, done.blessed) == (0, ())
        assert hits(work) == 0


def test_one_that_fails_is_refused(load):
    compute(load)
    with load() as dfk:
        done = dfk.bless(app("raise ValueError(x)"))
        assert "ValueError" in next(iter(done.refused.values())) and done.records == 0


def test_each_earlier_version_is_judged_by_itself(load):
    compute(load)
    compute(load, OTHER)
    with load() as dfk:
        done = dfk.bless(app(SAME))
        assert len(done.blessed) == 1 and len(done.refused) == 1 and done.records == 10


def test_a_dry_run_files_nothing(load):
    compute(load)
    with load() as dfk:
        work = app(SAME)
        assert dfk.bless(work, dry_run=True).records == 10 and hits(work) == 0


def test_it_is_noted_and_can_be_taken_back(load):
    compute(load)
    with load() as dfk:
        work = app(SAME)
        done = dfk.bless(work)
        (note,) = [run.data for _, run in dfk.kernel.store.runs() if run.event == "blessing"]
        assert note["app"] == "work" and note["code"] == done.code
        assert note["blessed"] == list(done.blessed) and note["records"] == 10 and note["user"]
    with load() as dfk:
        work = app(SAME)
        assert dfk.revoke_blessing(work) == 10 and hits(work) == 0
        assert dfk.revoke_blessing(work) == 0
        assert hits(app(BEFORE)) == 10, "what was computed before the edit stays"
    with load():
        assert hits(app(SAME)) == 0


def test_what_depends_on_blessed_results_is_found_by_their_values(load):
    chain = "cache=True"
    compute(load)
    with load():
        work, after = app(BEFORE), app("return [x]", chain)
        assert after(work(3)).result(DEADLINE) == [6]
    with load() as dfk:
        work, after = app(SAME), app("return [x]", chain)
        dfk.bless(work)
        future = after(work(3))
        assert future.result(DEADLINE) == [6] and future.from_memo


def test_nothing_to_bless_says_so(load):
    with load() as dfk, pytest.raises(BlessingError, match=r"work under other code"):
        dfk.bless(app(BEFORE))
    compute(load)
    with load() as dfk, pytest.raises(BlessingError, match=r"work under other code"):
        dfk.bless(app(BEFORE))


def test_an_empty_sample_is_refused(load):
    compute(load)
    with load() as dfk, pytest.raises(BlessingError, match="sample of 0"):
        dfk.bless(app(SAME), sample=0)


@pytest.mark.parametrize("declared", ["", "cache=True, code='name'"])
def test_an_app_whose_code_does_not_count_has_nothing_to_bless(load, declared):
    with load() as dfk, pytest.raises(CacheKeyError, match="code of work does not count"):
        dfk.bless(app(BEFORE, declared))


def test_without_arguments_that_were_kept_nothing_is_taken_on_trust(load, monkeypatch):
    monkeypatch.setattr(specimens, "LARGEST", 1)
    compute(load)
    with load() as dfk:
        done = dfk.bless(app(SAME))
        assert "arguments" in next(iter(done.refused.values())) and done.records == 0


def test_secret_arguments_are_not_kept(load):
    with load() as dfk:
        work = app(BEFORE, "cache=True, secret='x'")
        assert work("token-1234567").result(DEADLINE)
        ids = [record_id for _, record_id, r in dfk.kernel.store.records() if hasattr(r, "leaves")]
        assert all(dfk.kernel.store.note(one, specimens.ARGUMENTS) is None for one in ids)


def test_only_a_few_calls_of_each_code_are_kept(load):
    compute(load, count=50)
    with load() as dfk:
        store = dfk.kernel.store
        kept = [r for _, _, r in store.records() if getattr(r, "name", "") == specimens.ARGUMENTS]
        assert len(kept) == specimens.KEPT


# -- the command -----------------------------------------------------------------------------------


SCRIPT = """
import parsl_ckpt as pc

@pc.python_app(cache=True)
def work(x):
    {body}

if __name__ == "__main__":
    with pc.load(pc.Config(checkpoint_mode="task_exit")):
        calls = [work(n) for n in range(5)]
        print([call.result() for call in calls], sum(call.from_memo for call in calls))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(body: str) -> None:
        Path("script.py").write_text(SCRIPT.format(body=body))

    def run() -> str:
        home = str(Path(pc.__file__).parent.parent)
        done = subprocess.run(
            [sys.executable, "script.py"], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": home},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return write, run


def test_the_command_blesses_a_script(script, capsys):
    write, run = script
    write(BEFORE)
    assert run() == "[0, 2, 4, 6, 8] 0"
    write(SAME)
    assert main(["bless", "script.py:work", "--sample", "2", "--dry-run"]) == 0
    assert "Would file 5 records" in capsys.readouterr().out
    assert main(["bless", "script.py:work"]) == 0
    assert "Filed 5 records" in capsys.readouterr().out
    assert run() == "[0, 2, 4, 6, 8] 5"
    assert main(["bless", "script.py:work", "--revoke", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"revoked": 5}
    assert run() == "[0, 2, 4, 6, 8] 0"


def test_the_command_says_what_does_not_hold(script, capsys):
    write, run = script
    write(BEFORE)
    run()
    write(OTHER)
    assert main(["bless", "script.py:work"]) == 1
    assert "does not hold: call " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("work", "does not say where"),
        ("nowhere.py:work", "cannot be imported"),
        ("no_such_module:work", "cannot be imported"),
        ("script.py:walk", "It has: work"),
    ],
)
def test_a_wrong_place_is_named(script, capsys, target, says):
    write, _ = script
    write(BEFORE)
    assert main(["bless", target]) == 1
    assert says in capsys.readouterr().err
