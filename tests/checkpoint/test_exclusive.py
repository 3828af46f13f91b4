"""Who looks after a run directory: one at a time, and the dead do not stand in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import LocalBackend
from parsl_ckpt.checkpoint.exclusive import NAME, alone
from parsl_ckpt.errors import StoreBusyError

HERE = LocalBackend()


def test_only_one_is_at_it(tmp_path: Path) -> None:
    with alone(HERE, str(tmp_path)), pytest.raises(StoreBusyError, match=str(os.getpid())):
        alone(HERE, str(tmp_path)).__enter__()
    with alone(HERE, str(tmp_path)):
        assert (tmp_path / NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_one_who_was_killed_at_it_is_put_aside(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from parsl_ckpt.checkpoint import LocalBackend\n"
        "from parsl_ckpt.checkpoint.exclusive import alone\n"
        "with alone(LocalBackend(), sys.argv[1]):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join(part for part in sys.path if part)
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert (tmp_path / NAME).exists()
    with alone(HERE, str(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [b"", b'{"pid": 47', b"\xff\x00", b"[]"])
def test_one_who_died_while_he_made_his_file_is_waited_for_and_then_put_aside(
    tmp_path: Path, left: bytes
) -> None:
    """What he wrote of it says nothing; someone may be writing it just now."""
    file = tmp_path / NAME
    file.write_bytes(left)
    with pytest.raises(StoreBusyError, match="being looked after by someone") as busy:
        alone(HERE, str(tmp_path)).__enter__()
    assert str(file) in str(busy.value)
    os.utime(file, (1, 1))
    with alone(HERE, str(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []
