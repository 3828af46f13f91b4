"""What goes wrong beside the tasks is told once, remembered, and never raised."""

from __future__ import annotations

import warnings

import pytest

from parsl_ckpt.errors import CheckpointNotSavedError
from parsl_ckpt.kernel.events import Events
from parsl_ckpt.kernel.problems import CheckpointWarning, Problems


@pytest.fixture
def problems():
    return Problems(Events("observer"))


def test_a_failure_is_told_once_per_cause(problems):
    with pytest.warns(CheckpointWarning) as told:
        problems.announce("", "the checkpoint could not be written", OSError("disk full"))
        problems.announce("", "the checkpoint could not be written", OSError("disk full"))
        problems.announce("", "the checkpoint could not be written", ValueError("other"))
    assert len(told) == 2
    assert "The checkpoint could not be written: disk full" in str(told[0].message)


def test_unsaved_results_are_told_once_per_app_and_all_counted(problems):
    with pytest.warns(CheckpointWarning, match=r"A result of f \(task 1\)") as told:
        for tid in range(1, 6):
            problems.unsaved("f", tid, TypeError("a lock"))
        problems.unsaved("g", 9, TypeError("a lock"))
    assert len(told) == 2
    error = problems.not_saved("runs/0", held=0, lost=0, new=False)
    assert isinstance(error, CheckpointNotSavedError)
    assert error.unsaved == 6
    assert "5 of f (TypeError)" in str(error) and "runs/0" in str(error)


def test_a_checkpoint_speaks_of_what_is_new_since_the_last_one(problems):
    with pytest.warns(CheckpointWarning):
        problems.unsaved("f", 1, TypeError())
    assert problems.not_saved("d", 0, 0, new=True).unsaved == 1
    assert problems.not_saved("d", 0, 0, new=True) is None
    assert problems.not_saved("d", 0, 0, new=False).unsaved == 1


def test_held_and_lost_records_are_errors_too(problems):
    assert problems.not_saved("d", held=0, lost=0, new=True) is None
    assert problems.not_saved("d", held=2, lost=0, new=True).held == 2
    assert problems.not_saved("d", held=0, lost=3, new=True).lost == 3


def test_warnings_that_are_errors_do_not_raise_here(problems, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problems.unsaved("f", 1, TypeError("a lock"))
    assert "a lock" in caplog.text


def test_a_hook_that_raises_does_not_raise_here(problems, monkeypatch, caplog):
    def hook(*args, **kwargs):
        raise RuntimeError("the hook")

    monkeypatch.setattr(warnings, "showwarning", hook)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", hook)
        problems.unsaved("f", 1, TypeError("a lock"))
    assert "a lock" in caplog.text


def test_observers_are_told(problems):
    told = []
    problems._events.subscribe(told.append)
    with pytest.warns(CheckpointWarning):
        problems.unreadable("f", 3, ValueError("damaged"))
    problems._events.close()
    assert [(event.kind, event.app) for event in told] == [("problem", "f")]
    assert "cannot be read, so task 3 runs again" in told[0].text


def test_a_store_that_recovered_and_fails_again_is_told_again():
    problems = Problems(Events("test"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for incident in (0, 0, 1, 1):
            problems.announce("", "the disk is full", OSError("full"), incident)
    assert len(said) == 2
