"""Why a call ran although others like it are recorded: reasons, each a small true statement.

    address ─┬─ same key recorded ─┬─ removed, unreadable, expired ─► that is the reason
             │                     └─ readable ─► computed again: why is known, or guessed aloud
             └─ nothing of this key ─► the nearest earlier record ─► where the leaves differ

Rule of this file: it reads one store and changes nothing.  It compares what is recorded, never
what it supposes; where only digests are kept it says so.  ``asking.py`` asks on behalf of futures
and kernels.

Source of the idea: Merkle trees compared from the root down; Bazel's and Nix's "what changed".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.format import Code, Result
from parsl_ckpt.checkpoint.reading import Stored
from parsl_ckpt.checkpoint.segment import BadSignature, DamagedFrame
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import FormatError, StoreError
from parsl_ckpt.identity.outline import Node, read_outline
from parsl_ckpt.observe import differences
from parsl_ckpt.observe.differences import Difference, Side
from parsl_ckpt.observe.nearest import Found, Nearest, Place, Wanted, read_result

# --- the reasons ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reason:
    """Why a call ran, or did not have to.  ``str()`` tells it in plain text.

    Attributes:
        app: name of the app.
    """

    app: str

    def __str__(self) -> str:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the name of the reason under ``"reason"``."""
        told: dict[str, Any] = {"reason": type(self).__name__}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                value = [one.to_dict() if isinstance(one, Difference) else one for one in value]
            told[field.name] = value.hex() if isinstance(value, bytes) else value
        return told


@dataclass(frozen=True)
class Restored(Reason):
    """It did not have to run: its outcome is recorded.

    Attributes:
        run: name of the run that computed it.
        began: when, in seconds since the epoch.
        seconds: how long that took.
        worker: what ran it.
        key: under which it is recorded.
    """

    run: str
    began: float
    seconds: float
    worker: str
    key: bytes

    def __str__(self) -> str:
        return f"{self.app}: recorded in run {self.run}, where it took {_span(self.seconds)}."


@dataclass(frozen=True)
class Joined(Reason):
    """It did not have to run: an equal call of this run was under way, and had the outcome."""

    def __str__(self) -> str:
        return f"{self.app or 'This call'}: an equal call of this run gave the outcome."


@dataclass(frozen=True)
class NoEarlierCall(Reason):
    """It ran because no call of its app is recorded from before."""

    def __str__(self) -> str:
        return f"{self.app}: no earlier call of it is recorded."


@dataclass(frozen=True)
class Differs(Reason):
    """It ran because every earlier call differs from it.

    Attributes:
        run: name of the run that has the nearest earlier call.
        key: of that call.
        differences: where the two differ.
    """

    run: str
    key: bytes
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        lines = [f"{self.app}: no earlier call is the same. The nearest, of run {self.run}:"]
        for one in self.differences:
            lines += ["  " + line for line in str(one).splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Removed(Reason):
    """It ran because the record of the same call has been removed.

    Attributes:
        run: name of the run that had it.
        why: the reason that was given for the removal.
    """

    run: str
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{self.app}: the same call was recorded in run {self.run} and was removed{why}."


@dataclass(frozen=True)
class Unreadable(Reason):
    """It ran because the record of the same call cannot be read.

    Attributes:
        run: name of the run that has it.
        why: what is wrong with it.
    """

    run: str
    why: str

    def __str__(self) -> str:
        return (
            f"{self.app}: the same call is recorded in run {self.run}, but cannot be read: "
            f"{self.why.rstrip('.')}."
        )


@dataclass(frozen=True)
class Expired(Reason):
    """It ran because the record of the same call is not valid any more, as its app says.

    Attributes:
        run: name of the run that has it.
        began: when that ran, in seconds since the epoch.
    """

    run: str
    began: float

    def __str__(self) -> str:
        return (
            f"{self.app}: the same call is recorded in run {self.run}, "
            "but its record is not valid any more (valid_for, valid_if)."
        )


@dataclass(frozen=True)
class Asked(Reason):
    """It ran because it was asked to, whatever is recorded.

    Attributes:
        run: name of the run that has the record; empty if there is none.
    """

    run: str = ""

    def __str__(self) -> str:
        recorded = f", although it is recorded in run {self.run}" if self.run else ""
        return f"{self.app}: it was asked to run anew{recorded}."


@dataclass(frozen=True)
class Again(Reason):
    """It ran although the same call is recorded, and why is not known for certain.

    Attributes:
        run: name of the run that has the record.
    """

    run: str

    def __str__(self) -> str:
        return (
            f"{self.app}: the same call is recorded in run {self.run}, readable. It was computed "
            "again because the two ran at the same time, or that record was not valid or not in "
            "use then."
        )


@dataclass(frozen=True)
class NotCached(Reason):
    """It ran because nothing was looked up.

    Attributes:
        why: who says so: the app, the configuration, the environment.
    """

    why: str

    def __str__(self) -> str:
        return f"{self.app or 'This call'}: nothing was looked up, {self.why}."


@dataclass(frozen=True)
class Waiting(Reason):
    """It is not known yet whether it has to run: inputs are computed first.

    Attributes:
        inputs: numbers of the tasks that it waits for.
    """

    inputs: tuple[int, ...]

    def __str__(self) -> str:
        some = ", ".join(map(str, self.inputs[:5])) + (", ..." if len(self.inputs) > 5 else "")
        many = "s" if len(self.inputs) != 1 else ""
        return f"{self.app}: it depends on the outcome of task{many} {some}, not known yet."


@dataclass(frozen=True)
class Unknown(Reason):
    """Nothing that is kept tells why.

    Attributes:
        why: what is missing.
    """

    why: str

    def __str__(self) -> str:
        return f"{self.app or 'This call'}: nothing tells why it ran: {self.why}."


# --- finding them ---------------------------------------------------------------------------------


class Call(msgspec.Struct, gc=False):
    """A call to be explained.

    Attributes:
        app, code, version, names, leaves: as in :class:`~parsl_ckpt.checkpoint.format.Result`.
        key: its value key.
        outline: parameter number → node, for arguments of which the leaf is a digest.
        own: name of its own record, which explains nothing; empty if it has none.
        codes: what its code is made of, if that is at hand.
    """

    app: str
    code: bytes
    version: str
    names: tuple[str, ...]
    leaves: tuple[bytes, ...]
    key: bytes
    outline: dict[int, Node] = {}
    own: bytes = b""
    codes: Code | None = None


def call_of(record: Any, own: bytes = b"") -> Call:
    """A recorded result or failure as a call."""
    return Call(
        record.app, record.code, record.version, record.names, record.leaves, record.key,
        read_outline(getattr(record, "outline", b"")), own,
    )  # fmt: skip


class Why:
    """Explains the calls of one store.

    Args:
        store: the store; opened for reading is enough.

    Not for several threads at once.  The first question goes through all records of the store once
    (about 5 µs each); later ones through what has been added since.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._nearest = Nearest(store)

    def explain(
        self,
        call: Call,
        valid: Callable[[Stored], bool] | None = None,
        asked: bool = False,
    ) -> Reason:
        """Why a call ran, or would run; :class:`Restored` if it would not.

        Args:
            call: the call.
            valid: whether a record may be used; None for always.
            asked: it was asked to run whatever is recorded.
        """
        self._nearest.catch_up()
        before = self._place_of(call)
        same = self._same_key(call, before)
        if asked:
            return Asked(call.app, same[1] if same is not None else "")
        if same is not None:
            reason = self._same_call(call, same, valid)
            if reason is not None:
                return reason
        return self._nearest_call(call, before)

    def _nearest_call(self, call: Call, before: Place | None) -> Reason:
        wanted = Wanted(
            call.app, call.code, call.version, call.names, call.leaves, before, call.own
        )
        found = self._nearest.find(wanted)
        if found is None:
            return NoEarlierCall(call.app)
        return Differs(
            call.app, run_of(found.directory), found.result.key,
            tuple(self.differences(found.result, call)),
        )  # fmt: skip

    def differences(self, old: Any, call: Call) -> list[Difference]:
        """Where a call differs from a record."""
        new = Side(call.code, call.version, call.names, call.leaves, call.outline)
        found = differences.arguments(differences.side_of(old), new)
        if old.version != call.version:
            before, after = repr(old.version), repr(call.version)
            found.append(Difference("version", "version", old=before, new=after))
        if old.code != call.code:
            codes = call.codes or self.store.code(call.code)
            found += differences.code(self.store.code(old.code), codes)
        return found

    # --- the same call, recorded earlier ---

    def _same_call(
        self, call: Call, same: tuple[Stored | str, str], valid: Callable[[Stored], bool] | None
    ) -> Reason | None:
        stored, run = same
        if isinstance(stored, str):
            return Unreadable(call.app, run, stored)
        if self.store._gone(stored.record_id):
            if stored.record_id in self.store.catalog.removed:
                return Removed(call.app, run, self._nearest.reason(stored.record_id))
            return Unreadable(call.app, run, "its value is lost")
        wrong = self._wrong_with(stored)
        if wrong:
            return Unreadable(call.app, run, wrong)
        if valid is not None and not valid(stored):
            return Expired(call.app, run, stored.result.began)
        return Again(call.app, run) if call.own else restored(stored)

    def _wrong_with(self, stored: Stored) -> str:
        """Why the value of a record cannot be read; empty if it can, or may not be tried."""
        if stored.result.codec & 0x3F != 1 and not self.store.pickle:
            return ""  # unpickling runs code
        try:
            self.store.value(stored)
        except StoreError as error:
            return error.message
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _same_key(self, call: Call, before: Place | None) -> tuple[Stored | str, str] | None:
        """The newest record of the same call, older than the call; with its run.

        A text in its place says what is wrong with it.
        """
        own_place = self.store.path or ""
        held = self.store._writing.find_held(call.key)
        if before is None and held is not None and held.record_id != call.own:
            record: Any = held.record
            if type(record) is Result:
                return Stored(record, held.record_id, record.parents, own_place), run_of(own_place)
        for segment, offset in self.store._places(call.key):
            place = segment.rank, offset
            if before is not None and place >= before:
                continue
            run = run_of(segment.directory)
            try:
                kind, record_id, payload = segment.frame(offset)
            except BadSignature:
                return "it is not signed with the key", run
            except (DamagedFrame, OSError):
                return "its bytes are damaged", run
            if kind != fmt.RESULT or record_id == call.own:
                continue
            try:
                result = fmt.decode_result(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, FormatError):
                continue
            if call.key in (result.key, result.lineage):
                return Stored(result, record_id, result.parents, segment.directory), run
        return None

    def _place_of(self, call: Call) -> Place | None:
        """Where the call's own record is; None while it is held, or has none."""
        if call.own:
            for segment, offset in self.store._places(call.key):
                found = read_result(segment, offset)
                if found is not None and found.record_id == call.own:
                    return segment.rank, offset
        return None

    # --- records by number or key ---

    def in_run(self, directory: str) -> Iterator[Found]:
        """The results of one run, oldest first."""
        for segment in self.store._all_segments():
            if segment.directory == directory:
                for offset, kind, *_ in segment.walk().headers():
                    if kind == fmt.RESULT:
                        found = read_result(segment, offset)
                        if found is not None and not self.store._gone(found.record_id):
                            yield found


def restored(stored: Stored) -> Restored:
    """The reason of a hit."""
    result = stored.result
    return Restored(
        result.app, run_of(stored.directory), result.began, result.seconds, result.worker,
        result.key,
    )  # fmt: skip


def run_of(directory: str) -> str:
    """The name of the run that a checkpoint belongs to."""
    parent, name = os.path.split(directory.rstrip("/"))
    run = os.path.basename(parent)
    return run if name == "checkpoint" and run[:1].isdigit() else name or "memory"


def _span(seconds: float) -> str:
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
