"""Looking after the runs in a run directory: what ``parsl-ckpt`` does, from Python.

Rule of this file: it finds the runs, makes sure of being the only one who maintains them, and asks
the file whose idea it is: ``verify``, ``repair``, ``compact``, ``prune``, ``archive``.

>>> import tempfile
>>> from parsl_ckpt.checkpoint import Store
>>> with tempfile.TemporaryDirectory() as root:
...     for run in ("000", "001"):
...         with Store.open(f"{root}/{run}/checkpoint") as store:
...             store.put("answer", 42)
...     verify(root).records, compact(root).records, verify(root).records
(2, 1, 1)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Union

from parsl_ckpt.errors import ConfigurationError, StoreBusyError
from parsl_ckpt.identity.keys import SIGNING, derive, signing_secret

from . import archive, inventory, sessions
from . import compact as compacting
from . import pins as pinning
from . import prune as pruning
from . import repair as repairing
from . import verify as verifying
from .archive import Moved
from .backend import Backend
from .compact import Compaction
from .exclusive import alone
from .inventory import Place, RunInfo
from .items import Filter, Item, items, removed_in
from .pins import Named, census
from .prune import Pruned
from .repair import Repair
from .verify import Report
from .where import changing, reading

if TYPE_CHECKING:
    from parsl_ckpt.identity.keys import KeySource

    from .signing import Signer

PathLike = Union[str, "os.PathLike[str]"]
Progress = Callable[[int], None]


def runs(
    run_dir: PathLike = "runinfo",
    *,
    only: Sequence[str] | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> list[RunInfo]:
    """The runs of a run directory, oldest first, with their state, provenance, records and size.

    Args:
        run_dir, only, progress, backend: as for :func:`verify`.

    Raises:
        CheckpointNotFoundError: there is no such directory.
    """
    where = backend or reading(run_dir)
    places = inventory.find(where, run_dir, only)
    return [inventory.describe(where, place, progress) for place in places]


def records(
    run_dir: PathLike = "runinfo",
    wanted: Callable[[Item], bool] | None = None,
    *,
    only: Sequence[str] | None = None,
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Iterator[Item]:
    """The results and failures that are recorded and not removed, from the oldest run on.

    Args:
        run_dir, only, signing_key, progress, backend: as for :func:`verify`.
        wanted: which; such as a :class:`Filter`.

    Raises:
        CheckpointNotFoundError: there is no such directory or run.
    """
    where = backend or reading(run_dir)
    places = inventory.find(where, run_dir, only)
    return items(where, places, wanted, signer_of(signing_key, run_dir), progress)


def verify(
    run_dir: PathLike = "runinfo",
    *,
    only: Sequence[str] | None = None,
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Report:
    """Verify every checksum of every file.

    Args:
        run_dir: the run directory; one of its runs; or a store that belongs to no run.
        only: names of runs; all by default.
        signing_key: verifies signatures as well.
        progress: called with the number of bytes done since the last call.
        backend: where it is; the file system by default.

    Raises:
        CheckpointNotFoundError: there is no such directory or run.
    """
    where = backend or reading(run_dir)
    signer = signer_of(signing_key, run_dir)
    places = inventory.withheld(where, inventory.find(where, run_dir, only), signer)
    return verifying.verify(where, places, progress=progress, signer=signer)


def repair(
    run_dir: PathLike = "runinfo",
    *,
    only: Sequence[str] | None = None,
    dry_run: bool = False,
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Repair:
    """Drop what is damaged, keep every whole record, make indexes anew.  Live runs are left alone.

    Args:
        run_dir, only, signing_key, progress, backend: as for :func:`verify`.
        dry_run: only say what would be done.

    Raises:
        CheckpointNotFoundError: there is no such directory or run.
        StoreBusyError: someone else is maintaining the directory.
    """
    where = backend or changing(run_dir, "Repairing")
    inventory.find(where, run_dir, only)
    signer = signer_of(signing_key, run_dir)
    with _looking_after(where, run_dir, dry_run):
        # As whoever was at it before has left it.
        places = inventory.withheld(where, inventory.find(where, run_dir, only), signer)
        return repairing.repair(where, places, dry_run=dry_run, progress=progress, signer=signer)


def compact(
    run_dir: PathLike = "runinfo",
    *,
    only: Sequence[str] | None = None,
    dry_run: bool = False,
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Compaction:
    """Put many runs into one sealed segment; the newest of each call is kept.

    Readers go on meanwhile, and live runs are left alone.

    Args:
        run_dir, only, signing_key, progress, backend: as for :func:`verify`.
        dry_run: only say what would be done.

    Raises:
        CheckpointNotFoundError: there is no such directory or run.
        StoreBusyError: someone else is maintaining the directory.
        OSError: what is kept could not be written; nothing is lost.
    """
    where = backend or changing(run_dir, "Compacting")
    inventory.find(where, run_dir, only)
    signer = signer_of(signing_key, run_dir)
    with _looking_after(where, run_dir, dry_run) as (root, _):
        everything = inventory.withheld(where, inventory.find(where, root), signer)
        places = inventory.withheld(where, inventory.find(where, run_dir, only), signer)
        return compacting.compact(
            where, places, everything=everything, dry_run=dry_run, progress=progress, signer=signer
        )


def prune(
    run_dir: PathLike = "runinfo",
    *,
    apps: Sequence[str] = (),
    older_than: float | None = None,
    larger_than: int | None = None,
    max_bytes: int | None = None,
    keep_runs: int | None = None,
    failures: bool = False,
    only: Sequence[str] | None = None,
    dry_run: bool = False,
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Pruned:
    """Remove what is not worth its room.  Live runs are left alone.

    What tasks had committed in the middle goes as well, where their results are recorded; with
    ``older_than`` alone, also where nothing has been committed for so long.

    Args:
        run_dir, only, signing_key, progress, backend: as for :func:`verify`.
        apps: only records of these apps; ``*`` and ``?`` as in file names.
        older_than: only records begun more than so many seconds ago.
        larger_than: only records of more than so many bytes.
        max_bytes: only as many records as it takes to bring the run directory down to this size,
            those first that are cheapest to compute again for the room that they take.
        keep_runs: of the runs, keep so many newest ones; the others go wholly.
        failures: only failures.
        dry_run: only say what would be done.

    Raises:
        ConfigurationError: nothing says what is to go, or a number is negative.
        CheckpointNotFoundError: there is no such directory or run.
        StoreBusyError: someone else is maintaining the directory.
    """
    where = backend or changing(run_dir, "Pruning")
    inventory.find(where, run_dir, only)
    wanted = pruning.wish(apps, older_than, larger_than, failures)
    signer = signer_of(signing_key, run_dir)
    with _looking_after(where, run_dir, dry_run) as (root, run):
        within = None
        if only is not None or run is not None:
            within = [place.name for place in inventory.find(where, run_dir, only)]
        freed = 0
        if not dry_run:  # first, while it can be told what is recorded
            idle = None if apps or larger_than is not None or failures else older_than
            freed = sessions.collect_in(root, signing_key, idle)
        everything = inventory.withheld(where, inventory.find(where, root), signer)
        done = pruning.prune(
            where, everything, only=wanted, max_bytes=max_bytes, keep_runs=keep_runs,
            within=within, dry_run=dry_run, progress=progress, signer=signer,
            again=lambda: inventory.withheld(where, inventory.find(where, root), signer),
        )  # fmt: skip
        done.reclaimed += freed
        return done


def remove(
    run_dir: PathLike = "runinfo",
    *,
    runs: Sequence[str] = (),
    apps: Sequence[str] = (),
    keys: Sequence[str] = (),
    dry_run: bool = False,
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Pruned:
    """Remove whole runs; or records, by the beginning of their keys, or by app.

    Args:
        run_dir, signing_key, progress, backend: as for :func:`verify`.
        runs: names of runs; with ``apps`` or ``keys``, the runs from which records go.
        apps: names of apps; ``*`` and ``?`` as in file names.
        keys: beginnings of keys or record ids, in hexadecimal.
        dry_run: only say what would be done.

    Raises:
        ConfigurationError: nothing says what is to go.
        CheckpointNotFoundError: there is no such directory or run.
        StoreBusyError: a run lives, or someone else is maintaining the directory.
    """
    if not (runs or apps or keys):
        raise ConfigurationError(
            "Nothing says what is to be removed.", hint="Name runs, apps or keys.", field="runs"
        )
    where = backend or changing(run_dir, "Removing")
    root, _ = inventory.meant(where, run_dir)
    signer = signer_of(signing_key, run_dir)
    everything = inventory.withheld(where, inventory.find(where, root), signer)
    named = inventory.withheld(where, inventory.find(where, run_dir, runs or None), signer)
    living = [place.name for place in named if place.live]
    if living and runs:
        raise StoreBusyError(
            f"The run {living[0]} is live, so nothing of it can be removed.",
            hint="Wait until it has ended.",
            path=living[0],
        )
    done = Pruned()
    done.before = done.after = sum(inventory.size(where, place) for place in everything)
    quiet = [place for place in named if not place.untouchable]
    if apps or keys:
        done.left = {place.name: place.untouchable for place in named if place.untouchable}
        chosen = list(items(where, quiet, Filter(apps=apps, keys=keys), signer, progress))
    else:
        chosen = []
        done.runs = [place.name for place in named]
        done.bytes = sum(inventory.size(where, place) for place in named)
    done.tell(chosen)
    if dry_run or not (chosen or done.runs):
        return done
    with alone(where, root):
        if done.runs:
            rest = [place for place in everything if place.name not in done.runs]
            pruning.remove_runs(where, named, rest, signer)
        else:
            pruning.remove_items(where, chosen, reason="removed", progress=progress, signer=signer)
    done.after = sum(inventory.size(where, place) for place in everything)
    return done


def sets(
    run_dir: PathLike = "runinfo",
    *,
    signing_key: KeySource | None = None,
    backend: Backend | None = None,
) -> dict[str, dict[str, Named]]:
    """The named sets of a run directory: what each name of each stands for.

    Args:
        run_dir, signing_key, backend: as for :func:`verify`.

    Raises:
        CheckpointNotFoundError: there is no such directory.
    """
    where = backend or reading(run_dir)
    root, _ = inventory.meant(where, run_dir)
    places, signer = inventory.find(where, root), signer_of(signing_key, run_dir)
    return census(where, places, removed_in(where, places, signer), signer).sets


def unpin(
    run_dir: PathLike,
    of: str,
    names: Sequence[str] = (),
    *,
    dry_run: bool = False,
    signing_key: KeySource | None = None,
    backend: Backend | None = None,
) -> list[str]:
    """Take names out of a named set; what they stood for stays, and may be pruned from then on.

    Args:
        run_dir, signing_key, backend: as for :func:`verify`.
        of: the set.
        names: the names; all by default.
        dry_run: only say which that would be.

    Returns:
        The names that stood for something.

    Raises:
        CheckpointNotFoundError: there is no such directory.
        StoreBusyError: all runs live, or someone else is maintaining the directory.
        OSError: it could not be written; nothing is changed.
    """
    where = backend or changing(run_dir, "Removing names")
    signer = signer_of(signing_key, run_dir)
    inventory.find(where, run_dir)
    with _looking_after(where, run_dir, dry_run) as (root, _):
        places = inventory.withheld(where, inventory.find(where, root), signer)
        removed = removed_in(where, places, signer)
        current = census(where, places, removed, signer).sets.get(of, {})
        found = [name for name in current if not names or name in names]
        if dry_run or not found:
            return found
        heirs = [place for place in places if not place.untouchable]
        if not heirs:
            raise StoreBusyError(
                "All runs are live, so nothing can be written to one of them.",
                hint="Wait until one has ended.",
                path=os.fspath(run_dir),
            )
        pinning.take_out(where, places, heirs[-1], of, found, signer)
    return found


def export_runs(
    target: IO[bytes],
    run_dir: PathLike = "runinfo",
    *,
    only: Sequence[str] | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Moved:
    """Write runs to an archive that :func:`import_runs` takes elsewhere.

    Args:
        target: a file open for writing bytes; it may be a pipe.
        run_dir, only, progress, backend: as for :func:`verify`.
    """
    where = backend or reading(run_dir)
    places = inventory.find(where, run_dir, only)
    return archive.export_runs(where, places, target, progress)


def import_runs(
    source: IO[bytes],
    run_dir: PathLike = "runinfo",
    *,
    salvage: bool = False,
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
) -> Moved:
    """Take the runs of an archive into a run directory, under numbers that are free there.

    Values in an archive are pickles as a rule, and unpickling runs code: import only what comes
    from someone whom you would let run programs as you.

    Args:
        source: a file open for reading bytes; it may be a pipe.
        run_dir: the run directory; made if it is missing.
        salvage: take what is whole of an archive with damaged records.
        signing_key, progress: as for :func:`verify`.

    Raises:
        ArchiveError: it is no archive, or is damaged; nothing of it is taken.
        StoreWriteError: it could not be written; nothing of it is taken.
    """
    where = changing(run_dir, "Importing")
    base = where.absolute(os.fspath(run_dir))
    where.make_directory(base)
    with alone(where, base):
        return archive.import_runs(
            base, source, salvage=salvage, progress=progress,
            signer=signer_of(signing_key, run_dir),
        )  # fmt: skip


@contextlib.contextmanager
def _looking_after(
    where: Backend, run_dir: PathLike, dry_run: bool
) -> Iterator[tuple[str, str | None]]:
    """Alone, except where nothing is changed; gives what :func:`inventory.meant` tells."""
    root, run = inventory.meant(where, run_dir)
    with contextlib.nullcontext() if dry_run else alone(where, root):
        yield root, run


def signer_of(signing_key: KeySource | None, run_dir: PathLike) -> Signer | None:
    """What verifies and signs; None where neither an argument nor the environment names a key."""
    from .signing import Signer

    secret = signing_secret(signing_key, [os.fspath(run_dir)])
    return Signer(derive(secret, SIGNING)) if secret is not None else None


__all__ = [
    "Compaction", "Filter", "Item", "Moved", "Place", "Pruned", "Repair", "Report", "RunInfo",
    "compact", "export_runs", "import_runs", "prune", "records", "remove", "repair", "runs", "sets",
    "unpin", "verify",
]  # fmt: skip
