"""What every test sees.

The suite tests the *installed* package (so that a file forgotten in ``setup.cfg`` shows), and the
source tree where nothing is installed.  The root of the repository therefore goes to the end of the
path: test modules stay importable in worker processes, ``benchmarks`` in its tests, and an
installed ``parsl_ckpt`` still wins.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))


def pytest_report_header() -> str:
    spec = find_spec("parsl_ckpt")
    return f"parsl_ckpt from {spec.origin if spec else 'nowhere'}"
