"""What the tests of executors share: a collector of outcomes, and functions that travel."""

from __future__ import annotations

import os
import sys
import threading

from parsl_ckpt.kernel.attempt import Attempt

DEADLINE = 30.0  # a broken executor fails its test instead of hanging it; never part of a verdict


def environment():
    """Variables with which a script finds what this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class Outcomes:
    """Collects what executors report; counts, so that a second report is seen."""

    def __init__(self, executor, drive=lambda: None):
        self.executor = executor
        self.drive = drive
        self.reports = []  # (attempt, value, error, encoded)
        self.changed = threading.Condition()
        self.launched = 0

    def finished(self, attempt, value, error, encoded=None):
        with self.changed:
            self.reports.append((attempt, value, error, encoded))
            self.changed.notify_all()

    def launch(self, fn, *args, app="app", encode=False, **kwargs):
        attempt = Attempt(fn, args, kwargs, app=app, tid=self.launched, encode=encode)
        self.launched += 1
        self.executor.launch(attempt, self.finished)
        return attempt

    def wait(self, count=None):
        """Wait for that many reports (all that were launched, by default)."""
        count = self.launched if count is None else count
        self.drive()
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.reports) >= count, DEADLINE), (
                f"{len(self.reports)} of {count} reports"
            )
            return list(self.reports)

    def run(self, fn, *args, **kwargs):
        """Launch one, wait for all; its report."""
        attempt = self.launch(fn, *args, **kwargs)
        return next(report for report in self.wait() if report[0] is attempt)


def nothing():
    return None


def identity(value):
    return value


def total(*args, **kwargs):
    return sum(args) + sum(kwargs.values())


def divide(a, b):
    return a / b


def throw(error):
    raise error


def process_id():
    return os.getpid()


def is_process_worker():
    from parsl_ckpt.kernel.attempt import worker

    return worker.in_process_worker


def call(fn, *args):
    return fn(*args)
