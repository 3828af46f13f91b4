"""Which row is gone on from: the newest that can be read.

Rule of this file: what is damaged is told; what others have dropped meanwhile is not.  Ranks decide
alike, or refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsl_ckpt.errors import CheckpointError, FormatError, UnreadableRecordError

from .consistent import consistent, members
from .history import Row, warn
from .restoring import Saved

if TYPE_CHECKING:
    from .checkpoint import Checkpoint


class Recovery:
    """Looks for the row to go on from.

    Args:
        checkpoint: whose rows.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._of = checkpoint

    def whole(self, row: Row, *, chosen: bool) -> tuple[Row, Saved] | None:
        """A row all of which can be read: the one given, or else what it goes on from.

        Raises:
            CheckpointError: it was chosen by the user, and cannot be read.
        """
        tried: set[bytes] = set()
        candidate: Row | None = row if chosen else self._seemingly_whole(row)
        while candidate is not None:
            tried.add(candidate.session.commit)
            try:
                session, directory = self._of._history.full(candidate)
                saved = Saved(session, directory, self._of._history)
                saved.verify()
                return candidate, saved
            except (UnreadableRecordError, FormatError) as error:
                if chosen or self._of.world_size > 1:  # other ranks would go on from this one
                    raise CheckpointError(
                        f"The row {candidate.session.commit.hex()} of {self._of.name!r} cannot be "
                        f"read: {error.message}",
                        hint="Select another one" + (", in all ranks." if not chosen else "."),
                        checkpoint=self._of.name,
                    ) from error
                if self._made_room_of(candidate):
                    rest = self._rest(candidate, tried)
                    candidate = rest[0] if rest else None
                    continue
                warn(
                    f"The newest row of {self._of.name!r} is damaged, so the session goes on from "
                    f"the one before it: {error.message}",
                    5,
                )
            candidate = self._before(candidate, tried)
        return None

    def _made_room_of(self, row: Row) -> bool:
        """Whether somebody has dropped a row and made room of it, since it was looked up."""
        self._of.refresh()
        return self._of._history.row(row.session.commit) is None

    def _seemingly_whole(self, row: Row) -> Row | None:
        """Of several ranks, the newest row of which all is there: each rank finds the same."""
        if self._of.world_size == 1:
            return row
        live = self._of._history.live()
        for candidate in reversed(self._of._rows()):
            if candidate.session.labels == row.session.labels:
                parts = members(live, candidate)
                if all(map(self._of._history.seems_whole, parts)):
                    return candidate
                warn(
                    f"A row of {self._of.name!r} lacks a part, so the session goes on from the one "
                    f"before it: {candidate.session.commit.hex()}, after "
                    f"{candidate.session.count} steps.",
                    6,
                )
        return None

    def _before(self, row: Row, tried: set[bytes]) -> Row | None:
        """What to go on from in place of a row: its parent, or else the newest that is left."""
        parent = self._of._history.row(row.session.parent)
        if parent is not None and parent.session.commit not in tried:
            return parent
        rest = self._rest(row, tried)
        return rest[0] if rest else None

    def _rest(self, row: Row, tried: set[bytes]) -> list[Row]:
        """The other rows of the same labels, newest first; after them those that were dropped."""
        dropped = consistent(self._of._history.buried(), self._of.rank)
        return [
            one
            for rows in (self._of._rows(), dropped)
            for one in reversed(rows)
            if one.session.commit not in tried and one.session.labels == row.session.labels
        ]
