"""What every test sees.

The suite tests the *installed* package (so that a file forgotten in ``setup.cfg`` shows), and the
source tree where nothing is installed.  The root of the repository therefore goes to the end of the
path: test modules stay importable in worker processes, ``benchmarks`` in its tests, and an
installed ``parsl_ckpt`` still wins.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tests.with_parsl import python_with_parsl  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job; the tests of Ctrl-C need it, here and in child processes.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests make by hand is not to be writable by a group, which some systems let it be: the
# library would not trust it.  Tests of that set the modes themselves.
os.umask(0o022)


# No test asserts how long an example takes: on a loaded machine one of them may take its time.
# .ci/run judges by the same examples each time; new ones are drawn where the library is worked on.
settings.register_profile(
    "unhurried", settings.default, deadline=None, derandomize="CI" in os.environ
)
settings.load_profile("unhurried")


def pytest_report_header() -> str:
    spec = find_spec("parsl_ckpt")
    return f"parsl_ckpt from {spec.origin if spec else 'nowhere'}"


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """A test that failed must not leave its kernel to the next."""
    from parsl_ckpt import dataflow

    yield
    if dataflow._Loaded.dfk is not None:
        dataflow._Loaded.dfk._end(1.0)
        dataflow.clear()


@pytest.fixture(autouse=True)
def _as_if_zstd_were_not_installed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests write the same files on every machine; those of compression ask for ``zstd``."""
    if "zstd" not in request.fixturenames:
        from parsl_ckpt.checkpoint import store
        from parsl_ckpt.checkpoint.zstd import codec_of

        monkeypatch.setattr(
            store, "codec_of", lambda how: codec_of("none" if how == "auto" else how)
        )


@pytest.fixture(scope="session")
def parsl_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has Parsl; may take a minute to make."""
    return python_with_parsl(tmp_path_factory.mktemp("parsl"))


@pytest.fixture
def zstd() -> None:
    """Compression as it is; the test is left out where zstd is not installed."""
    from parsl_ckpt.checkpoint.zstd import _module

    if _module() is None:
        pytest.skip("zstd is not installed")
