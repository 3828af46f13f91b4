"""``python -m parsl_ckpt`` is ``parsl-ckpt``."""

import sys

from parsl_ckpt.cli import main

if __name__ == "__main__":
    sys.exit(main())
