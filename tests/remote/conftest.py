from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import Store

from ..checkpoint.conftest import Place, key_number

pytest.importorskip("fsspec")

from parsl_ckpt.checkpoint.remote import RemoteBackend

NEVER = 3600.0  # seconds between two uploads: tests say when


class Near(Place):
    """An object store; stores share one backend, which has what is not uploaded yet."""


class Distant(Place):
    """An object store; each store is as on a machine of its own, and sees what was uploaded."""

    def __init__(self, backend: Any, root: str) -> None:
        self.machines: list[RemoteBackend] = [backend]
        super().__init__(backend, root)

    @property
    def backend(self) -> Any:
        for machine in self.machines:
            machine.flush()
        self.machines.append(RemoteBackend(self.root, period=NEVER))
        return self.machines[-1]

    @backend.setter
    def backend(self, backend: Any) -> None:
        pass

    def open(self, *args: Any, **options: Any) -> Store:
        store = super().open(*args, **options)
        refresh = store.refresh

        def refresh_what_is_uploaded() -> None:
            for machine in self.machines:
                machine.flush()
            refresh()

        store.refresh = refresh_what_is_uploaded  # type: ignore[method-assign]
        return store

    def close(self) -> None:
        super().close()
        for machine in self.machines:
            machine.close()


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is left in the cache of who runs the tests."""
    monkeypatch.setenv("PARSL_CKPT_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def url() -> Iterator[str]:
    """A run directory that no other test uses; its files do not stay in everybody's memory."""
    from fsspec.implementations.memory import MemoryFileSystem

    name = uuid.uuid4().hex
    yield f"memory://{name}/runs"
    for path in [path for path in MemoryFileSystem.store if path.startswith(f"/{name}/")]:
        del MemoryFileSystem.store[path]


@pytest.fixture(params=[Near, Distant], ids=["near", "distant"])
def place(request: pytest.FixtureRequest, url: str, spool: Path) -> Iterator[Place]:
    backend = RemoteBackend(url, period=NEVER)
    place: Place = request.param(backend, url)
    yield place
    place.close()
    backend.close()
    assert not spool.exists() or left(spool) == []  # all is uploaded


@pytest.fixture
def key() -> Callable[[int], bytes]:
    return key_number


def left(spool: Path) -> list[str]:
    """The spools that are there."""
    return [path.name for path in spool.glob("*/*") if path.name not in ("cache", "url")]


# --- a real S3 server -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server on loopback, which nothing but loopback is asked for."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication as Application

    # It looks before it puts: one request at a time makes that as atomic as the service.
    answer, one_at_a_time = Application.__call__, threading.Lock()

    def answer_one(*args: Any) -> Any:
        with one_at_a_time:
            return answer(*args)

    given = {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*", "no_proxy": "*",
    }  # fmt: skip
    before = dict(os.environ)
    os.environ.update(given)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        os.environ.pop(name, None)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    Application.__call__ = answer_one
    running.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()
    Application.__call__ = answer
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A URL in a bucket of its own; this process and those it starts find the server."""
    import fsspec

    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", s3_server)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": s3_server})
    bucket = f"b{uuid.uuid4().hex[:20]}"
    system = fsspec.filesystem("s3")
    system.mkdir(bucket)
    yield f"s3://{bucket}/runs"
    with contextlib.suppress(Exception):
        system.rm(bucket, recursive=True)
