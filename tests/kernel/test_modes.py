"""When each mode flushes: rules from (event, time since, period) to a decision."""

from __future__ import annotations

import pytest

from parsl_ckpt.kernel.modes import CHECKPOINT, END, MODES, RESULT, TICK, flush_due

EVENTS = (RESULT, TICK, CHECKPOINT, END)


@pytest.mark.parametrize("event", EVENTS)
def test_task_exit_flushes_at_everything(event):
    assert flush_due("task_exit", event, since=0.0, period=60.0)


@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_and_none_flushes_when_the_user_asks(mode):
    assert flush_due(mode, CHECKPOINT, since=0.0, period=60.0)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode])
def test_every_mode_flushes_at_an_orderly_end(mode):
    assert flush_due(mode, END, since=0.0, period=60.0)


def test_no_mode_does_not_flush_at_the_end():
    assert not flush_due(None, END, since=1e9, period=60.0)


@pytest.mark.parametrize("event", [RESULT, TICK])
def test_periodic_flushes_when_the_period_is_over(event):
    assert not flush_due("periodic", event, since=59.9, period=60.0)
    assert flush_due("periodic", event, since=60.0, period=60.0)


@pytest.mark.parametrize("mode", ["dfk_exit", "manual", None])
@pytest.mark.parametrize("event", [RESULT, TICK])
def test_the_others_do_not_flush_on_their_own(mode, event):
    assert not flush_due(mode, event, since=1e9, period=60.0)
