"""The log of a run: what is in it, what it costs nothing for, and what it leaves alone."""

from __future__ import annotations

import logging
import warnings

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint.rundir import LOG as NAME
from parsl_ckpt.kernel.events import Event, Events
from parsl_ckpt.observe.runlog import TRACEBACKS, Reporter, RunLog, described
from parsl_ckpt.testing.clock import FakeClock


@pc.python_app
def double(x):
    return 2 * x


@pc.python_app
def broken(x):
    raise ValueError(f"no {x}")


def run(tmp_path, work=lambda dfk: None, **options):
    """A run, and what its log says."""
    with pc.load(pc.Config(run_dir=tmp_path / "runinfo", **options)) as dfk:
        work(dfk)
    log = tmp_path / "runinfo" / dfk.run_id / NAME
    return log.read_text() if log.exists() else None


@pytest.fixture
def log(tmp_path):
    counts = {"exec_done": 0, "running": 0, "failed": 0}
    log = RunLog(str(tmp_path / NAME), lambda: dict(counts), FakeClock())
    log.now = counts
    yield log
    log.close()


def text(log):
    with open(log.path) as file:
        return file.read()


def test_a_run_says_how_it_began_and_sums_up_its_tasks(tmp_path):
    said = run(tmp_path, lambda dfk: [double(i).result() for i in range(3)])
    assert f"parsl_ckpt {pc.__version__}" in said
    assert "Configuration: Config(" in said
    assert "Summary of tasks:" in said and "Tasks in state exec_done: 3" in said
    assert "Tasks in state failed" not in said


def test_a_failure_is_written_with_its_traceback_and_its_dependants_without(tmp_path):
    def work(dfk):
        assert double(broken(7)).exception() is not None

    said = run(tmp_path, work)
    assert "(broken) failed: ValueError: no 7" in said
    assert said.count("Traceback (most recent call last)") == 1
    assert 'raise ValueError(f"no {x}")' in said
    assert "(double) failed: DependencyError" in said


def test_an_attempt_that_is_made_again_is_written(tmp_path):
    said = run(tmp_path, lambda dfk: broken(1).exception(), retries=1)
    assert "failed; it is tried again: ValueError: no 1" in said


def test_many_failures_are_counted(log):
    for tid in range(TRACEBACKS + 5):
        log.hear(Event("failure", "f", tid, "failed", "ValueError: x", ValueError("x")))
    log.close()
    said = text(log)
    assert said.count("(f) failed") == TRACEBACKS
    assert f"f failed {TRACEBACKS + 5} times in all" in said


def test_the_counts_are_written_now_and_then_if_they_have_changed(log):
    clock = log._clock
    clock.advance(1.0)
    assert "Tasks:" not in text(log)
    log.now.update(exec_done=3, running=1)
    clock.advance(2.0)
    clock.advance(4.0)
    assert text(log).count("Tasks: 3 of 4 done (run 3, restored 0), 1 running") == 1


def test_problems_and_warnings_of_the_library_are_written(tmp_path):
    def work(dfk):
        logging.getLogger("parsl_ckpt.kernel").warning("something of %s", "ours")
        logging.getLogger("concurrent.futures").error("a callback")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dfk.kernel.problems.warn("f", "something is wrong")

    said = run(tmp_path, work)
    assert "WARNING something of ours" in said
    assert "ERROR a callback" in said
    assert "WARNING something is wrong" in said


def test_the_logging_of_the_program_is_left_as_it_was(tmp_path):
    loggers = [logging.getLogger(name) for name in ("parsl_ckpt", "concurrent.futures")]
    before = [(one.level, list(one.handlers)) for one in loggers]
    run(tmp_path, lambda dfk: double(1).result())
    assert [(one.level, list(one.handlers)) for one in loggers] == before


def test_nobody_listens_to_tasks_for_the_log(tmp_path):
    def work(dfk):
        assert dfk.events.attended and not dfk.events.listening

    assert run(tmp_path, work)


def test_without_a_log_there_is_no_file_and_no_listener(tmp_path):
    def work(dfk):
        assert not dfk.events.attended

    assert run(tmp_path, work, initialize_logging=False) is None


def test_the_summary_goes_to_the_programs_own_logging_too(tmp_path, caplog):
    caplog.set_level(logging.INFO, "parsl_ckpt")
    run(tmp_path, lambda dfk: double(1).result(), initialize_logging=False)
    assert "Tasks in state exec_done: 1" in caplog.messages


def test_what_is_said_stands_in_the_log_once_though_logging_is_on(tmp_path, caplog):
    caplog.set_level(logging.INFO, "parsl_ckpt")
    assert run(tmp_path).count("Summary of tasks") == 1


def test_each_step_of_each_task_is_logged_to_who_asks_for_it(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "parsl_ckpt")
    said = run(tmp_path, lambda dfk: double(1).result())
    steps = [line for line in caplog.messages if line.startswith("Task 0 (double)")]
    assert steps == ["Task 0 (double): launched", "Task 0 (double): exec_done"]
    assert all(step in said for step in steps)


def test_a_configuration_of_the_users_is_called_and_undone(tmp_path):
    told = []

    class Mine:
        def initialize_logging(self, *, log_dir, log_name):
            told.append((log_dir.name, log_name))
            return lambda: told.append("undone")

    assert run(tmp_path, lambda dfk: told.append("ran"), initialize_logging=Mine()) is None
    assert told == [("000", "parsl_ckpt"), "ran", "undone"]


def test_a_log_that_cannot_be_opened_stops_nothing(tmp_path, caplog):
    events = Events("events")
    reporter = Reporter(
        True,
        str(tmp_path / "nowhere"),
        "runinfo/000",
        lambda: {"exec_done": 1},
        FakeClock(),
        events,
    )
    reporter.end()
    assert "has no log file" in caplog.text


def test_a_full_disk_ends_the_log_and_not_the_run(log):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def close(self):
            """Nothing is held."""

    log._file.close()
    log._file = Full()
    log.write("lost")
    log.write("lost as well")
    log._look()
    assert text(log) == ""


def test_a_forked_child_does_not_write(log):
    log._pid += 1
    log.write("by the child")
    log._pid -= 1
    assert "by the child" not in text(log)


def test_an_error_that_cannot_be_shown_stops_no_listener(log):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    log.hear(Event("failure", "f", 1, "failed", "Mute", Mute()))
    assert "(f) failed: Mute" in text(log)


def test_a_standing_in_a_sentence():
    counts = {"exec_done": 2, "memo_done": 5, "failed": 1, "pending": 1}
    assert described(counts) == "8 of 9 done (run 2, restored 5, failed 1)"
