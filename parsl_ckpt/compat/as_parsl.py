"""``import parsl_ckpt.compat.as_parsl``, first, has every later ``import parsl`` mean this library.

For scripts that shall run as they are, with whatever they import from Parsl's modules.  Parsl
itself, if it is installed, cannot be imported in the same process then, nor in its workers.

Raises:
    ConfigurationError: Parsl has been imported already.
"""

from __future__ import annotations

import sys

from parsl_ckpt.compat import parsl
from parsl_ckpt.compat.finder import install
from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.executors import workers

if sys.modules.get("parsl", parsl) is not parsl:
    raise ConfigurationError(
        "Parsl itself has been imported already.",
        hint="Put `import parsl_ckpt.compat.as_parsl` before every import of parsl.",
        field="parsl",
    )
sys.modules["parsl"] = parsl
install("parsl")
if __name__ not in workers.IMPORTED_FIRST:
    workers.IMPORTED_FIRST.append(__name__)
