"""A Python that has Parsl, for the slow tests that hold the library against Parsl itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("parsl_ckpt", "examples", "setup.cfg", "pyproject.toml", "README.rst")


def python_with_parsl(place: Path) -> str:
    """This one if it has Parsl, that of ``PARSL_PYTHON``, or a new one with the extra ``bench``.

    Args:
        place: an empty directory, where a new one is made.
    """
    if "PARSL_PYTHON" in os.environ:
        return os.environ["PARSL_PYTHON"]
    if importlib.util.find_spec("parsl") is not None:
        return sys.executable
    (place / "tree").mkdir()
    for name in SOURCES:
        source, copy = ROOT / name, place / "tree" / name  # pip leaves things in the tree it builds
        shutil.copytree(source, copy) if source.is_dir() else shutil.copyfile(source, copy)
    venv.create(place / "venv", with_pip=True)
    found = str(place / "venv" / "bin" / "python")
    subprocess.run(
        [found, "-m", "pip", "install", "-q", f"{place / 'tree'}[bench]"], check=True, timeout=800
    )
    return found
