"""Parsl's ways to see what a run logs.

The library speaks through the logger ``parsl_ckpt``; Parsl's name stands for it here.  Who has set
a logger up at the level DEBUG gets a line for each step of each task.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from parsl_ckpt import dataflow

DEFAULT_FORMAT = (
    "%(asctime)s.%(msecs)03d %(processName)s-%(process)d %(threadName)s-%(thread)d "
    "%(name)s:%(lineno)d %(levelname)s: %(message)s"
)
_DATES = "%Y-%m-%d %H:%M:%S"


def set_stream_logger(
    name: str = "parsl",
    level: int = logging.DEBUG,
    format_string: str | None = None,
    stream: Any = None,
) -> Callable[[], None]:
    """Write what the library logs to a stream.

    Args:
        name: of the logger; ``"parsl"`` is the library's.
        level: of what is written.
        format_string: of a line, as :mod:`logging` has it.
        stream: where to; None for standard error.

    Returns:
        A function that undoes it.
    """
    form = format_string or "%(asctime)s %(name)s:%(lineno)d [%(levelname)s]  %(message)s"
    return _attach(logging.StreamHandler(stream), name, level, form)


def set_file_logger(
    filename: str | os.PathLike[str],
    name: str = "parsl",
    level: int = logging.DEBUG,
    format_string: str | None = None,
) -> Callable[[], None]:
    """Write what the library logs to a file; see :func:`set_stream_logger`."""
    return _attach(logging.FileHandler(filename), name, level, format_string or DEFAULT_FORMAT)


class LogConfig(ABC):
    """How logging is set up for a run: ``Config(initialize_logging=...)``."""

    @abstractmethod
    def initialize_logging(self, *, log_dir: pathlib.Path, log_name: str) -> Callable[[], None]:
        """Set logging up.

        Args:
            log_dir: the directory of the run.
            log_name: what a file there might be called, without its ending.

        Returns:
            A function that undoes it.
        """


class FileLogging(LogConfig):
    """A file with everything that the library logs, each step of each task included.

    Args:
        format_string: of a line, as :mod:`logging` has it.
        level: of what is written.
    """

    def __init__(self, *, format_string: str = DEFAULT_FORMAT, level: int = logging.DEBUG) -> None:
        self.format_string = format_string
        self.level = level

    def initialize_logging(self, *, log_dir: pathlib.Path, log_name: str) -> Callable[[], None]:
        """Open the file, beside what else is in the directory of the run."""
        log_dir.mkdir(parents=True, exist_ok=True)
        path = log_dir / f"{log_name}.log"
        return set_file_logger(path, level=self.level, format_string=self.format_string)


class JSONLogging(LogConfig):
    """A file of JSON objects, one for each thing that is logged.

    Args:
        level: of what is written.
    """

    def __init__(self, *, level: int = logging.DEBUG) -> None:
        self.level = level

    def initialize_logging(self, *, log_dir: pathlib.Path, log_name: str) -> Callable[[], None]:
        """Open the file, beside what else is in the directory of the run."""
        log_dir.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(log_dir / f"{log_name}.jsonlog")
        return _attach(handler, "parsl", self.level, "", _JSONFormatter())


class NoopLogging(LogConfig):
    """No log at all."""

    def initialize_logging(self, *, log_dir: pathlib.Path, log_name: str) -> Callable[[], None]:
        """Do nothing."""
        return lambda: None


class _JSONFormatter(logging.Formatter):
    """A line that is an object, with Parsl's names."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            name: getattr(record, name)
            for name in ("created", "process", "processName", "thread", "threadName", "name")
        }
        said["lineno"] = record.lineno
        said["funcname"] = record.funcName
        said["levelname"] = record.levelname
        said["msg"] = str(record.msg)
        said["formatted"] = super().format(record)
        return json.dumps(said)


def _attach(
    handler: logging.Handler,
    name: str,
    level: int,
    form: str,
    formatter: logging.Formatter | None = None,
) -> Callable[[], None]:
    if name == "parsl" or name.startswith("parsl."):
        name = name.replace("parsl", "parsl_ckpt", 1)
    logger = logging.getLogger(name)
    handler.setLevel(level)
    handler.setFormatter(formatter or logging.Formatter(form, datefmt=_DATES))
    before = logger.level
    logger.setLevel(min(before or level, level))
    loggers = [logger, logging.getLogger("concurrent.futures")]  # callbacks that raise
    for one in loggers:
        one.addHandler(handler)
    kernel = dataflow.loaded()
    if kernel is not None:
        kernel.log_tasks()

    def undo() -> None:
        for one in loggers:
            one.removeHandler(handler)
        logger.setLevel(before)
        handler.close()

    return undo
