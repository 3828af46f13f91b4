"""What stands in a run directory: runs, whether they live, their segments and blobs.

Rule of this file: it looks and changes nothing.  A *place* is a checkpoint directory together with
what is known of who writes it.
"""

from __future__ import annotations

import dataclasses
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from parsl_ckpt.errors import CheckpointNotFoundError, FormatError, StoreBusyError

from . import format as fmt
from . import heartbeat
from .backend import Backend, Listed
from .catalog import INDEX_SUFFIX
from .format import FILE_HEADER_SIZE
from .frames import Frames, decode
from .index import _TRAILER as TRAILER
from .index import _TRAILER_MAGIC as TRAILER_MAGIC
from .index import PAGE_SIZE, TRAILER_SIZE
from .rundir import CHECKPOINT, is_run, order_of
from .segment import OpenFiles, Segment, parse_name
from .trust import distrusted

State = Literal["live", "ended", "died"]
QUIET_SECONDS = 600.0  # a segment without an end that is older than this is written by nobody
BLOB_SECONDS = 3600.0  # between writing a blob and recording it lies less than this
LEFTOVERS = (".tmp-", ".spool-")  # names of what is not finished
WRITER = ".writer-"  # names of what says who writes to a store that belongs to no run
OTHER_KEY = "is signed with another key"
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Place:
    """A checkpoint directory and whose it is.

    Attributes:
        name: ``"000"``; for a store that belongs to no run, the directory's own name.
        run: the run's directory; None where there is no run.
        directory: the checkpoint directory; it need not exist.
        state: ``"live"``: someone writes here; ``"ended"``: in order; ``"died"``: without an end.
        beat: what the run's heartbeat says.
        own: it is this process that writes here, and it has sealed what it wrote.
        foreign: why its records are not to be trusted, as half a sentence; None if they are.
    """

    name: str
    run: str | None
    directory: str
    state: State
    beat: heartbeat.Beat | None = None
    own: bool = False
    foreign: str | None = None

    @property
    def untouchable(self) -> str | None:
        """Why it is left alone; None if it may be maintained.

        What a stranger has written would be ours, and trusted, if we wrote it anew.
        """
        if self.live:
            return "it is live"
        return None if self.foreign is None else f"it {self.foreign}"

    @property
    def live(self) -> bool:
        return self.state == "live"

    @property
    def ended(self) -> bool:
        """Whether its writer said that it had ended, and so had synced everything."""
        return self.state == "ended" and self.beat is not None


def find(
    backend: Backend, root: str | os.PathLike[str], names: Sequence[str] | None = None
) -> list[Place]:
    """The runs in a run directory, oldest first; or the store that the directory itself is.

    Args:
        backend: where it is.
        root: ``runinfo``; one run, ``runinfo/003``, or its checkpoint; or a store of its own.
        names: only these runs: ``"3"`` is ``"003"``.

    Raises:
        CheckpointNotFoundError: there is no such directory, or a run that was named is not there.
    """
    base, run = meant(backend, root)
    try:
        listed = [run] if run is not None else list(backend.list(base))
    except (FileNotFoundError, NotADirectoryError) as error:
        what, missing = os.fspath(root), isinstance(error, FileNotFoundError)
        raise CheckpointNotFoundError(
            f"There is no run directory {what}." if missing else f"{what} is no directory.",
            hint="Name the directory in which your runs are (Config.run_dir), such as runinfo.",
            path=base,
        ) from None
    runs = sorted(filter(is_run, listed), key=order_of)
    if names is not None:
        runs = [_named(name, runs, root) for name in names]
        runs = sorted(dict.fromkeys(runs), key=order_of)
    elif not runs and any(parse_name(name) for name in listed):
        return [_store(backend, base)]
    return [_place(backend, f"{base}/{name}", name) for name in runs]


def meant(backend: Backend, root: str | os.PathLike[str]) -> tuple[str, str | None]:
    """The directory that is maintained as a whole, and the run in it that a path is of, if any.

    ``runinfo/003`` and ``runinfo/003/checkpoint`` are a run among others, which may live, and whose
    records others may have removed or named; they are no stores of their own.
    """
    base = backend.absolute(os.fspath(root))
    parent, _, last = base.rpartition("/")
    if last == CHECKPOINT and is_run(parent.rpartition("/")[2]):
        parent, _, last = parent.rpartition("/")
        return parent, last
    if is_run(last) and CHECKPOINT in listing(backend, base):
        return parent, last
    return base, None


def withheld(backend: Backend, places: Sequence[Place], signer: object) -> list[Place]:
    """The same places; those whose records are signed, and none with our key, are not ours.

    To us all of their records are damaged, so that whoever wrote them anew would drop them all.
    """
    return [
        dataclasses.replace(place, foreign=OTHER_KEY)
        if signer is not None
        and place.foreign is None
        and _signed_otherwise(backend, place, signer)
        else place
        for place in places
    ]


def _signed_otherwise(backend: Backend, place: Place, signer: object) -> bool:
    signed = False
    for segment in segments(backend, [place], OpenFiles()):
        try:
            frames = Frames(segment, growing=place.live)
            ours = Frames(segment, growing=place.live, signer=signer)
            for offset, kind, _ in frames.walk():
                if kind == fmt.INDEX or frames.read(offset) is None:
                    continue
                if ours.read(offset) is not None or not frames.signed:
                    return False  # the first that can be read tells, as a rule
                signed = True
        except (OSError, FormatError):
            continue
    return signed


def place_of(backend: Backend, directory: str) -> Place:
    """The place that a checkpoint directory is."""
    run, _, last = directory.rpartition("/")
    name = run.rpartition("/")[2]
    if last == CHECKPOINT and is_run(name):
        return _place(backend, run, name)
    return _store(backend, directory)


def own_place(backend: Backend, directory: str) -> Place:
    """The place that this process writes to, all of which it has sealed.

    Raises:
        StoreBusyError: someone else writes there.
    """
    place = place_of(backend, directory)
    mine = heartbeat.identify()
    beat = place.beat or mine
    if place.live and any(beat.get(name) != value for name, value in mine.items()):
        raise StoreBusyError(
            f"Process {beat.get('pid')} on {beat.get('host')} writes to {directory}.",
            hint="Wait until it has ended.",
            path=directory,
        )
    return dataclasses.replace(place, state="ended", own=True, foreign=None)


def root_of(place: Place) -> str:
    """The directory that is maintained as a whole: that of all runs, or a single store."""
    return place.run.rpartition("/")[0] if place.run is not None else place.directory


def around(backend: Backend, place: Place) -> list[Place]:
    """A place among all runs of its run directory: others may have removed what it holds."""
    if place.run is None:
        return [place]
    runs = find(backend, root_of(place))
    return [place if one.directory == place.directory else one for one in runs]


def segments(backend: Backend, places: Sequence[Place], opened: OpenFiles) -> list[Segment]:
    """The segments of some places, oldest first; big ones that nobody writes are mapped."""
    found: list[Segment] = []
    for source, place in enumerate(places):
        for name in listing(backend, place.directory):
            parsed = parse_name(name)
            if parsed is not None:
                rank = (source, parsed[0], name)
                found.append(
                    Segment(
                        backend, place.directory, name, parsed[1], rank, opened,
                        sealed=not place.live,
                    )
                )  # fmt: skip
    found.sort(key=lambda segment: segment.rank)
    return found


def listing(backend: Backend, directory: str) -> Sequence[str]:
    """Names in a directory; none if it is not there."""
    try:
        return backend.list(directory)
    except (FileNotFoundError, NotADirectoryError):
        return ()


def entries(backend: Backend, directory: str) -> Sequence[Listed]:
    """Files in a directory; none if it is not there."""
    try:
        return backend.entries(directory)
    except (FileNotFoundError, NotADirectoryError):
        return ()


def blobs(backend: Backend, directory: str) -> Iterator[tuple[str, Listed]]:
    """(path, file) of each file among the blobs of a directory, whatever its name.

    Links are not followed: what is found may be removed.
    """
    if backend.is_link(f"{directory}/blobs"):
        return
    for part in sorted(listing(backend, f"{directory}/blobs")):
        if backend.is_link(f"{directory}/blobs/{part}"):
            continue
        for file in entries(backend, f"{directory}/blobs/{part}"):
            yield f"{directory}/blobs/{part}/{file.name}", file


def blob_digest(path: str) -> bytes | None:
    """The digest that a blob's file name states; None for other files."""
    folder, _, name = path.rpartition("/")
    if len(name) == 64 and _HEX.issuperset(name) and folder.endswith("/" + name[:2]):
        return bytes.fromhex(name)
    return None


def ours(name: str) -> bool:
    """Whether a file of a checkpoint directory is the store's."""
    return (
        parse_name(name) is not None
        or name.endswith(INDEX_SUFFIX)
        or name.startswith((*LEFTOVERS, WRITER))
    )


def writer_of(backend: Backend, directory: str) -> heartbeat.Beat | None:
    """Someone alive who says that he writes to a directory."""
    for name in listing(backend, directory):
        if name.startswith(WRITER):
            beat = heartbeat.read(backend, f"{directory}/{name}")
            if heartbeat.is_alive(beat):
                return beat
    return None


def settled(place: Place, file: Listed) -> bool:
    """Whether a blob that no record names will not be named any more by who wrote it."""
    if place.live or place.own:
        return False
    return place.beat is not None or time.time() - file.changed > BLOB_SECONDS


def has_end(backend: Backend, path: str) -> bool:
    """Whether a segment was sealed."""
    try:
        file = backend.open(path)
        length = file.size()
        if length < TRAILER_SIZE + FILE_HEADER_SIZE:
            return False
        magic, _, offset, pages, head, _, _ = TRAILER.unpack(
            file.read(length - TRAILER_SIZE, TRAILER_SIZE)
        )
    except (OSError, struct.error):
        return False
    # Its checksums, which may be keyed, are of no interest here.
    ends: bool = offset + pages * PAGE_SIZE + head + TRAILER_SIZE == length
    return ends and magic == TRAILER_MAGIC


def size(backend: Backend, place: Place) -> int:
    """Bytes of a checkpoint directory."""
    files = sum(file.size for file in entries(backend, place.directory))
    return files + sum(file.size for _, file in blobs(backend, place.directory))


# --- runs -----------------------------------------------------------------------------------------


@dataclass
class RunInfo:
    """What there is to say about a run.

    Attributes:
        name: ``"000"``.
        path: its directory.
        state: ``"live"``, ``"ended"`` or ``"died"``.
        began, ended: seconds since the epoch; None if unknown.
        size: bytes of its checkpoint.
        records: number of records by kind.
        apps: number of results by app.
        provenance: what was recorded when it began: ``command``, ``git``, ``host``, ``user``, ...
        tasks: number of tasks by state, if the run ended in order.
        inside: runs that were compacted into this one: their names.
    """

    name: str
    path: str
    state: State
    began: float | None = None
    ended: float | None = None
    size: int = 0
    records: dict[str, int] = field(default_factory=dict)
    apps: dict[str, int] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)

    @property
    def results(self) -> int:
        return self.records.get("result", 0)


def describe(
    backend: Backend, place: Place, progress: Callable[[int], None] | None = None
) -> RunInfo:
    """Everything that the files of a run tell; goes through all of its records."""
    info = RunInfo(place.name, place.run or place.directory, place.state)
    info.size = size(backend, place)
    beat = place.beat or {}
    info.began, info.ended = _number(beat.get("began")), _number(beat.get("ended"))
    if isinstance(beat.get("tasks"), dict):
        info.tasks = beat["tasks"]
    for segment in segments(backend, [place], OpenFiles()):
        try:
            frames = Frames(segment, growing=place.live)
            _count(info, frames)
            if progress is not None:
                progress(frames.size)
        except (OSError, FormatError):
            continue  # verify tells
    return info


def _count(info: RunInfo, frames: Frames) -> None:
    for frame in frames.whole():
        if frame.kind == fmt.INDEX:
            continue
        kind = fmt.KIND_NAMES.get(frame.kind, "unknown")
        info.records[kind] = info.records.get(kind, 0) + 1
        if frame.kind == fmt.RESULT:
            app = _app_of(frame.payload)
            info.apps[app] = info.apps.get(app, 0) + 1
        elif frame.kind == fmt.RUN:
            record = decode(frame)
            if isinstance(record, fmt.Run):
                _tell(info, record)


def _tell(info: RunInfo, record: fmt.Run) -> None:
    run = record.data.get("run", info.name)
    if run != info.name:
        if run not in info.inside:
            info.inside.append(str(run))
    elif record.event == "end":
        info.ended = info.ended or _number(record.data.get("ended"))
        tasks = record.data.get("tasks")
        if isinstance(tasks, dict):
            info.tasks = tasks
    else:
        info.provenance.update(record.data)
        info.began = info.began or _date(record.data.get("started"))


def _app_of(payload: Any) -> str:
    try:
        return fmt.decode_result(payload).app
    except Exception:
        return ""


# --- inside ---------------------------------------------------------------------------------------


def _place(backend: Backend, run: str, name: str) -> Place:
    directory = f"{run}/{CHECKPOINT}"
    beat = heartbeat.read(backend, f"{run}/{heartbeat.NAME}")
    state, foreign = _state(backend, directory, beat), _foreign(backend, directory)
    return Place(name, run, directory, state, beat, foreign=foreign)


def _store(backend: Backend, directory: str) -> Place:
    """A store that belongs to no run."""
    foreign = _foreign(backend, directory)
    if foreign is None and writer_of(backend, directory) is not None:
        state: State = "live"
    else:
        state = _state(backend, directory, None)
    return Place(directory.rpartition("/")[2], None, directory, state, foreign=foreign)


def _foreign(backend: Backend, directory: str) -> str | None:
    try:
        return distrusted(backend, directory)
    except OSError:
        return None  # nothing is there


def _state(backend: Backend, directory: str, beat: heartbeat.Beat | None) -> State:
    if beat is not None:
        if heartbeat.is_alive(beat):
            return "live"
        return "ended" if "ended" in beat else "died"
    state: State = "ended"
    begun = False
    for file in entries(backend, directory):
        if parse_name(file.name) is None:
            continue
        begun = True
        if not has_end(backend, f"{directory}/{file.name}"):
            if time.time() - file.changed < QUIET_SECONDS:
                return "live"
            state = "died"
    return state if begun or not _may_begin(backend, directory) else "live"


def _may_begin(backend: Backend, directory: str) -> bool:
    """Whether a run may have claimed this directory just now.

    Its heart beats before it records anything; until then nothing tells that it lives.
    """
    run, _, last = directory.rpartition("/")
    claimed = backend.changed(run) if last == CHECKPOINT else None
    return bool(claimed) and time.time() - (claimed or 0) / 1e9 < QUIET_SECONDS


def _named(name: str, runs: Sequence[str], root: str | os.PathLike[str]) -> str:
    if name in runs:
        return name
    last = name.rstrip("/").rpartition("/")[2] if "/" in name else name
    for run in runs:
        if run == last or (is_run(last) and order_of(run)[0] == order_of(last)[0]):
            return run
    raise CheckpointNotFoundError(
        f"There is no run {name} in {os.fspath(root)}.",
        hint=f"There are: {', '.join(runs)}." if runs else "There are no runs.",
        path=os.fspath(root),
    )


def _date(text: Any) -> float | None:
    import datetime

    try:
        return datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
