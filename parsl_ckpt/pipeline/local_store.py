"""Progress of runs as files that people can read: ``DIRECTORY/PIPELINE/RUN.json``.

::

    save ─► .tmp-... ─ written, synced ─► rename ─► RUN.json, its directory synced
    claim ─► .claim~RUN~-..., which beats while the run lasts

Guarantees: whoever dies at whatever instruction, and whatever power is lost, a file holds a whole
state: the last that was saved, or the one before.  No id of a run and no name of a pipeline leads
out of the directory, or to the file of another.

Assumptions: atomic rename, on one host or over a network file system.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parsl_ckpt.checkpoint import heartbeat, where
from parsl_ckpt.checkpoint.backend import Backend, Writable
from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.sole import sole
from parsl_ckpt.errors import CheckpointDamagedError, ConfigurationError
from parsl_ckpt.pipeline.states import (
    CheckpointState,
    check_key,
    check_state,
    claimed,
    from_mapping,
    to_mapping,
)

logger = logging.getLogger(__name__)

_PLAIN = re.compile(r"[a-z0-9_][a-z0-9._-]{0,99}")  # no file system confuses two of these
_ODD = re.compile(r"[^A-Za-z0-9._-]")
_SHOWN = 40
_LARGEST = 256 << 20


def encoded(name: str) -> str:
    """A name as a name of a file: itself where no file system minds, else marked by a digest.

    >>> encoded("run-001"), encoded("..")[:3], encoded("a/b") == encoded("a_b")
    ('run-001', '_.~', False)
    """
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    shown = _ODD.sub("_", name[:_SHOWN])
    return f"{'_' + shown[1:] if shown.startswith(('.', '-')) else shown}~{digest}"


class LocalCheckpointStore:
    """Keeps the progress of runs in a directory, a JSON file for each.

    Args:
        base_dir: the directory; made, for its owner only, when something is saved.

    Raises:
        ConfigurationError: it is no path on this machine.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     store = LocalCheckpointStore(Path(directory))
    ...     store.save(CheckpointState("run-001", "etl", "f00d", ["extract"]))
    ...     store.load("run-001", "etl").completed_components
    ['extract']
    """

    def __init__(self, base_dir: str | os.PathLike[str]) -> None:
        path = isinstance(base_dir, (str, os.PathLike)) and os.fspath(base_dir)
        if not isinstance(path, str) or not path or where.is_url(path):
            what = "is a URL" if path else "is empty" if path == "" else "is no path"
            raise ConfigurationError(
                f"LocalCheckpointStore: base_dir, which is {base_dir!r:.80}, {what}.",
                hint="Give a directory of this machine. A RunStore keeps progress wherever the "
                "kernel keeps results.",
                field="base_dir",
            )
        self.base_dir = Path(where.plain(path))
        self._root = self.base_dir.absolute()  # wherever the process goes
        self._backend: Backend = LocalBackend()

    def path_of(self, run_id: str, pipeline_name: str) -> Path:
        """The file of a run, whether or not it is there."""
        check_key(run_id, pipeline_name)
        return self._root / encoded(pipeline_name) / f"{encoded(run_id)}.json"

    def save(self, state: CheckpointState) -> None:
        """Write the file of a run as a whole, and sync it.

        Raises:
            OSError: it could not be written; the one before is untouched.
            ValueError: a field that was taken along cannot be written as JSON.
        """
        check_state(state)
        path = self.path_of(state.run_id, state.pipeline_name)
        data = _readable(to_mapping(state)).encode()

        def fill(file: Writable) -> None:
            file.write(data)

        directory = str(path.parent)
        self._backend.make_directory(directory, durable=True)
        temporary = f"{directory}/.tmp-{secrets.token_hex(12)}"
        self._backend.write_whole(str(path), temporary, fill, durable=True)

    def load(self, run_id: str, pipeline_name: str) -> CheckpointState | None:
        """What is in the file of a run; None if there is none.

        Raises:
            CheckpointDamagedError: there is one, and it holds no state, or that of another run.
            OSError: it cannot be read.
        """
        path = self.path_of(run_id, pipeline_name)
        state = self._read(path)
        if state is not None and (state.run_id, state.pipeline_name) != (run_id, pipeline_name):
            raise damaged(
                str(path),
                f"it is of run {state.run_id!r} of pipeline {state.pipeline_name!r}",
                run_id,
                pipeline_name,
            )
        return state

    def delete(self, run_id: str, pipeline_name: str) -> None:
        """Remove the file of a run."""
        path = self.path_of(run_id, pipeline_name)
        self._backend.remove(str(path))
        with contextlib.suppress(OSError):
            self._backend.sync_directory(str(path.parent))

    def exists(self, run_id: str, pipeline_name: str) -> bool:
        """Whether there is a file of a run."""
        return self._backend.size_of(str(self.path_of(run_id, pipeline_name))) is not None

    def states(self) -> list[CheckpointState]:
        """All states that can be read, the one that was saved last at the end; files that cannot
        are logged."""
        found = []
        for path in self._root.glob("*/*.json"):
            try:
                state = self._read(path)
            except (CheckpointDamagedError, OSError) as error:
                logger.warning("%s", error)
                continue
            if state is not None:
                found.append((state.updated_at, path.name, state))
        return [state for _, _, state in sorted(found, key=lambda one: one[:2])]

    @contextlib.contextmanager
    def claim(self, run_id: str, pipeline_name: str) -> Iterator[None]:
        """Be the only one who runs a run, on all hosts that see the directory.

        Raises:
            RunClaimedError: somebody else does, who is alive.
            OSError: nothing can be written.
        """
        path = self.path_of(run_id, pipeline_name)
        self._backend.make_directory(str(path.parent))
        with claim_file(self._backend, str(path.parent), encoded(run_id), run_id, pipeline_name):
            yield

    def _read(self, path: Path) -> CheckpointState | None:
        try:
            file = self._backend.open(str(path))
        except FileNotFoundError:
            return None
        try:
            data = file.read(0, _LARGEST)
        finally:
            file.close()
        try:
            return from_mapping(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise damaged(str(path), _told(error), path.stem, path.parent.name) from error


def claim_file(
    backend: Backend, directory: str, name: str, run_id: str, pipeline_name: str
) -> contextlib.AbstractContextManager[None]:
    """A claim on a run by a file that beats.

    Args:
        backend: where the directory is.
        directory: where the files of claimants are.
        name: of the run, encoded.
        run_id, pipeline_name: the run.
    """

    def refuse(path: str, beat: heartbeat.Beat | None) -> Exception:
        who = f"process {beat.get('pid')} on {beat.get('host')}" if beat else "someone"
        return claimed(run_id, pipeline_name, who, path)

    return sole(backend, directory, f".claim~{name}~", refuse)


def damaged(path: str, why: str, run_id: str, pipeline_name: str) -> CheckpointDamagedError:
    """The error for progress that is recorded and cannot be read."""
    return CheckpointDamagedError(
        f"The progress of run {run_id!r} in {path} cannot be read: {why}.",
        hint="It was written whole, so something else has changed it: put a copy of it back; or "
        "remove it and run the pipeline afresh, which runs every component again.",
        path=path,
        run_id=run_id,
        pipeline_name=pipeline_name,
    )


def _readable(fields: Mapping[str, Any]) -> str:
    """JSON with a line for each field: with ``indent`` it is no longer the encoder in C, which is
    five times as fast, and a thousand components are written a thousand times."""
    lines = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(fields[name])}" for name in fields)
    return f"{{\n  {lines}\n}}\n"


def _told(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON after line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    return str(error) or type(error).__name__
