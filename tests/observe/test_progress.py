"""The progress display shows what is so, and can never break a run."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from parsl_ckpt.observe.progress import Progress, sentence, tally


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def painters() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "parsl_ckpt-progress"]


def test_counts_by_state_are_folded_and_sums_over_states_are_not_counted_twice():
    now = tally(
        {
            "unsched": 1, "pending": 2, "launched": 3, "running": 4, "joining": 5,
            "exec_done": 6, "memo_done": 7, "failed": 8, "dep_fail": 9, "cancelled": 10,
            "memo": 7, "run": 6,
        }
    )  # fmt: skip
    assert now == (55, 40, 4, 6, 7, 17, 10)


def test_an_expected_total_counts_only_while_it_is_larger():
    assert tally({"pending": 3}, expected=10).total == 10
    assert tally({"pending": 30}, expected=10).total == 30


def test_failures_are_mentioned_only_when_there_are_any():
    assert "failed" not in sentence(tally({"exec_done": 1}))
    assert "failed 1,000" in sentence(tally({"failed": 1000}))


def test_where_there_is_no_terminal_the_end_is_one_plain_line():
    out = io.StringIO()
    with Progress(lambda: {"exec_done": 2, "memo_done": 1}, "survey", file=out):
        pass
    assert out.getvalue() == "survey: 3/3, run 2, restored 1 (0 s)\n"


def test_lines_repeat_only_when_something_changed():
    out = io.StringIO()
    looked = threading.Semaphore(0)

    def counts() -> dict[str, int]:
        looked.release()
        return {"exec_done": 1}

    with Progress(counts, file=out, interval=0.001, line_interval=0.0):
        for _ in range(5):
            assert looked.acquire(timeout=30)
    assert len(out.getvalue().splitlines()) == 1


def test_on_a_terminal_it_is_a_bar_that_ends_full():
    out = Terminal()
    console = Console(file=out, force_terminal=True, width=100)
    with Progress(lambda: {"exec_done": 3}, "survey", console=console):
        pass
    assert "survey" in out.getvalue()
    assert "3/3" in out.getvalue()
    assert "run 3, restored 0" in out.getvalue()


def test_switched_off_it_does_nothing_at_all():
    def counts() -> dict[str, int]:
        raise AssertionError("looked at")

    with Progress(counts, enabled=False):
        assert not painters()


def test_counts_that_raise_end_the_display_and_not_the_run():
    def counts() -> dict[str, int]:
        raise RuntimeError("no counts")

    for file in (io.StringIO(), Terminal()):
        with Progress(counts, file=file, interval=0.001):
            pass
    assert not painters()


def test_a_closed_file_ends_the_display_and_not_the_run():
    for out in (io.StringIO(), Terminal()):
        with Progress(lambda: {"exec_done": 1}, file=out):
            out.close()


def test_two_bars_at_once_do_not_break_each_other():
    console = Console(file=Terminal(), force_terminal=True)
    counts = {"exec_done": 1}
    with Progress(lambda: counts, console=console), Progress(lambda: counts, console=console):
        pass
    assert not painters()


def test_an_error_in_the_run_passes_through_and_the_painter_is_gone():
    try:
        with Progress(lambda: {"failed": 1}, file=io.StringIO()):
            raise KeyError("mine")
    except KeyError as error:
        assert error.args == ("mine",)
    assert not painters()
