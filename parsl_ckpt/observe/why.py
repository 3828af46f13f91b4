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

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.format import Code, Result
from parsl_ckpt.checkpoint.reading import Stored
from parsl_ckpt.checkpoint.rundir import run_of
from parsl_ckpt.checkpoint.segment import BadSignature, DamagedFrame, Segment
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import FormatError, StoreError
from parsl_ckpt.identity.address import Address
from parsl_ckpt.identity.outline import Node, read_outline
from parsl_ckpt.identity.outlining import Outliner
from parsl_ckpt.kernel.task import Spec
from parsl_ckpt.observe import differences
from parsl_ckpt.observe.differences import Difference, Side
from parsl_ckpt.observe.nearest import Found, Nearest, Place, Wanted, read_call
from parsl_ckpt.observe.reasons import (
    Again,
    Asked,
    Differs,
    Expired,
    NoEarlierCall,
    Reason,
    Removed,
    Restored,
    Unreadable,
)

OUTLINE = 1 << 16  # bytes of an outline that is not kept, but used at once


class Call(msgspec.Struct, gc=False):
    """A call to be explained.

    Attributes:
        app, code, version, names, leaves: as in :class:`~parsl_ckpt.checkpoint.format.Result`.
        key: its value key.
        outline: parameter number → node, for arguments of which the leaf is a digest.
        own: name of its own record, which explains nothing; empty if it has none.
        codes: what its code is made of, if that is at hand.
        parents: (own key, record id) of the tasks whose results are among its arguments.
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
    parents: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def side(self) -> Side:
        """The call as one side of a comparison."""
        return Side(self.code, self.version, self.names, self.leaves, self.outline)


def call_of(record: Any, own: bytes = b"") -> Call:
    """A recorded result or failure as a call."""
    return Call(
        record.app, record.code, record.version, record.names, record.leaves, record.key,
        read_outline(getattr(record, "outline", b"")), own, None, getattr(record, "parents", ()),
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
        before = self._place_of(call)
        same = self._same_key(call, before)
        reason = None if same is None else self._same_call(call, same, valid)
        if asked and not isinstance(reason, Unreadable):  # which is why it was asked to
            return Asked(call.app, same[1] if same is not None else "")
        return reason or self._nearest_call(call, before)

    def nearest(self, wanted: Wanted) -> list[Found]:
        """The recorded calls that have most in common with one; none if its app has none."""
        self._nearest.catch_up()
        return self._nearest.find(wanted)

    def _nearest_call(self, call: Call, before: Place | None) -> Reason:
        alike = self.nearest(
            Wanted(call.app, call.code, call.version, call.names, call.leaves, before, call.own)
        )
        if not alike:
            return NoEarlierCall(call.app)
        found = min(alike, key=lambda one: self._distance(one.result, call))
        return Differs(
            call.app, run_of(found.directory), found.result.key,
            tuple(self.differences(found.result, call)),
        )  # fmt: skip

    def _distance(self, old: Any, call: Call) -> int:
        """The number of places inside the arguments at which a call differs from a record."""
        return len(differences.arguments(differences.side_of(old), call.side))

    def differences(self, old: Any, call: Call) -> list[Difference]:
        """Where a call differs from a record."""
        found = differences.arguments(differences.side_of(old), call.side)
        found = [self._traced(one, old, call) for one in found]
        if old.version != call.version:
            before, after = repr(old.version), repr(call.version)
            found.append(Difference("version", "version", old=before, new=after))
        if old.code != call.code:
            codes = call.codes or self.store.code(call.code)
            found += differences.code(self.store.code(old.code), codes)
        return found

    def _traced(self, one: Difference, old: Any, call: Call) -> Difference:
        """A difference of which nothing is known, with what computed the argument, if one did."""
        if one.kind != "argument" or one.old or one.new or one.note or one.path:
            return one
        parents = call.parents or getattr(old, "parents", ())
        apps = {
            stored.result.app for key, _ in parents if (stored := self.store.find(key)) is not None
        }
        if len(apps) != 1 or len(parents) != 1:
            return one
        return dataclasses.replace(one, note=f"another result of {apps.pop()}")

    # --- the same call, recorded earlier ---

    def _same_call(
        self, call: Call, same: tuple[Stored | str, str], valid: Callable[[Stored], bool] | None
    ) -> Reason:
        stored, run = same
        if isinstance(stored, str):
            return Unreadable(call.app, run, stored)
        if self.store._gone(stored.record_id):
            if stored.record_id in self.store.catalog.removed:
                self._nearest.catch_up()
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
                found = read_call(segment, offset)
                if found is not None and found.record_id == call.own:
                    return segment.rank, offset
        return None

    # --- records by number or key ---

    def read(self, segment: Segment, offset: int) -> Found | None:
        """The result or failure at a place; None if it is not whole, or removed."""
        found = read_call(segment, offset)
        return None if found is None or self.store._gone(found.record_id) else found

    def in_run(self, directory: str) -> Iterator[Found]:
        """The results and failures of one run, oldest first."""
        for segment in self.store._all_segments():
            if segment.directory == directory:
                for offset, kind, *_ in segment.walk().headers():
                    if kind in (fmt.RESULT, fmt.FAILURE):
                        found = self.read(segment, offset)
                        if found is not None:
                            yield found


def restored(stored: Stored) -> Restored:
    """The reason of a hit."""
    result = stored.result
    return Restored(
        result.app, run_of(stored.directory), result.began, result.seconds, result.worker,
        result.key,
    )  # fmt: skip


def nodes_of(
    spec: Spec, address: Address, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[int, Any]:
    """The outline of a call that is not made, as detailed as is sensible."""
    assert spec.addresser is not None and spec.binder is not None
    wholes = spec.addresser.wholes(address, spec.binder.bind(args, kwargs))
    outliner = Outliner(spec.addresser.privacy, OUTLINE)
    nodes = outliner.nodes([(value, address.leaves[at], walk) for at, value, walk in wholes])
    return {at: node for (at, _, _), node in zip(wholes, nodes, strict=True)}


def codes_of(spec: Spec, digest: bytes) -> Code:
    """What the code of an app is made of, as it is now."""
    assert spec.addresser is not None
    code = spec.addresser.code
    return Code(digest, spec.name, code.leaves(), code.sources())
