"""Which rank of how many this process is.

Rule of this file: a detector looks at what is there and starts nothing: it imports no library that
the program has not imported, and initialises none.  The first detector that knows of more than one
process is believed; a library that says "alone" may simply not have been told of the others, so
those after it are asked as well.

The idea and the order of the environment variables are Earth2Studio's.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["DETECTORS", "Detector", "Ranks", "detect", "register_rank_detector"]


class Ranks(NamedTuple):
    """One process among others that do one piece of work together.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are.
    """

    rank: int
    world_size: int


Detector = Callable[[Mapping[str, str]], "tuple[int, int] | None"]


def mpi4py(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """``COMM_WORLD``, if the program uses mpi4py and MPI is up."""
    mpi: Any = sys.modules.get("mpi4py.MPI")
    try:
        if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized():
            return None
        return int(mpi.COMM_WORLD.Get_rank()), int(mpi.COMM_WORLD.Get_size())
    except Exception:  # half imported, or not what it seems
        return None


def torch_distributed(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The default process group, if the program has made one."""
    group: Any = sys.modules.get("torch.distributed")
    try:
        if group is None or not group.is_available() or not group.is_initialized():
            return None
        return int(group.get_rank()), int(group.get_world_size())
    except Exception:
        return None


def _variables(rank: str, size: str) -> Detector:
    def detector(environment: Mapping[str, str]) -> tuple[int, int] | None:
        return _pair(environment.get(rank), environment.get(size))

    detector.__name__ = detector.__qualname__ = f"{rank}/{size}"
    return detector


def slurm(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """A task of ``srun``; the batch script itself is told the same variables and is alone."""
    in_step = "SLURM_STEP_ID" in environment or "SLURM_STEPID" in environment
    if "SLURM_JOB_ID" in environment and not in_step:
        return None
    size = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS")
    return _pair(environment.get("SLURM_PROCID"), size)


def _pair(rank: str | None, size: str | None) -> tuple[int, int] | None:
    if rank is None or size is None:
        return None
    try:
        pair = int(rank), int(size)
    except ValueError:
        return None
    return pair if 0 <= pair[0] < pair[1] else None


#: What is asked, in this order; :func:`register_rank_detector` adds to it.
DETECTORS: list[Detector] = [
    mpi4py,
    torch_distributed,
    _variables("RANK", "WORLD_SIZE"),
    _variables("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    _variables("PMI_RANK", "PMI_SIZE"),
    slurm,
]


def register_rank_detector(detector: Detector) -> Detector:
    """Ask a detector of your own before all others; usable as a decorator.

    Args:
        detector: takes the environment, gives ``(rank, world_size)``, or None if it does not know.

    >>> @register_rank_detector
    ... def mine(environment):
    ...     return None
    >>> DETECTORS.pop(0) is mine
    True
    """
    if not callable(detector):
        raise ValueError(f"detector must be callable, not {detector!r}")
    DETECTORS.insert(0, detector)
    return detector


def detect(
    rank: int | None = None,
    world_size: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ranks:
    """Which rank this is: as it was said, or else as the first detector knows.

    Args:
        rank: what the user says; None to find out.
        world_size: what the user says; None to find out.
        environment: variables, instead of those of this process.

    Raises:
        ValueError: what was said cannot be; the message names the argument.

    >>> detect(rank=2, world_size=4)
    Ranks(rank=2, world_size=4)
    >>> detect(environment={"PMI_RANK": "1", "PMI_SIZE": "3"})
    Ranks(rank=1, world_size=3)
    >>> detect(environment={})
    Ranks(rank=0, world_size=1)
    """
    _check("rank", rank, 0)
    _check("world_size", world_size, 1)
    if rank is None or world_size is None:
        found = _found(os.environ if environment is None else environment)
        if rank is None:
            rank = 0 if world_size == 1 else found.rank
        if world_size is None:
            world_size = found.world_size
    if rank >= world_size:
        raise ValueError(
            f"rank must be below world_size, which is {world_size}; it is {rank}. "
            "Give both: rank from 0, and world_size, the number of processes."
        )
    return Ranks(rank, world_size)


def _found(environment: Mapping[str, str]) -> Ranks:
    for detector in list(DETECTORS):
        pair = detector(environment)
        if pair is None:
            continue
        try:
            rank, world_size = map(operator.index, pair)
        except (TypeError, ValueError):
            name = getattr(detector, "__qualname__", repr(detector))
            raise ValueError(
                f"The rank detector {name} gave {pair!r}; it is to give (rank, world_size), or "
                "None."
            ) from None
        if world_size > 1:
            return Ranks(rank, world_size)
    return Ranks(0, 1)


def _check(name: str, value: Any, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
