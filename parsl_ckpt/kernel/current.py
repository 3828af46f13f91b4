"""The kernel that apps run on when they are not bound to one: the last one loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel


class Current:
    """One place per process.

    Attributes:
        kernel: the loaded kernel, or None.
    """

    kernel: Kernel | None = None


current = Current()
