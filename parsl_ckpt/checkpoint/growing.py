"""Segments that grow while they are read: what is new in a directory, and at the end of a segment.

Rule of this file: what a catalog knows already is never walked again.  Its lock is held meanwhile;
who looks keys up does not wait for it, and finds what was there before, or that and more.
"""

from __future__ import annotations

from .catalog import Catalog
from .segment import parse_name
from .tail import Tail


def refresh(catalog: Catalog) -> None:
    """Look again: new segments, and what was appended to those that are still written."""
    with catalog.lock:
        catalog.load(None)
        for tail in list(catalog.growing.values()):
            size = catalog.backend.size_of(tail.path)
            if size is not None and size > tail.end:
                extend(catalog, tail, size)


def tails(catalog: Catalog, directory: str) -> list[Tail]:
    """The ends of the segments of a directory that may still grow."""
    return [
        tail
        for tail in catalog.growing.values()
        if tail.segment.directory == directory and not tail.over
    ]


def extend(catalog: Catalog, tail: Tail, size: int) -> bool:
    """Take in what was appended to a segment that is now of a size; whether there was any."""
    with catalog.lock:
        try:
            new = tail.extend(size, catalog)
        except OSError:
            return False  # gone, perhaps: who reads its records finds out
        if new and tail not in catalog.grown and len(tail):
            catalog.grown = (*catalog.grown, tail)
        if tail.over:
            _settle(catalog, tail)
        return new


def _settle(catalog: Catalog, tail: Tail) -> None:
    """Look a segment up by its own index, now that it has one; the tail serves if that is bad."""
    segment = tail.segment
    segment.close()  # to be mapped, now that nobody writes it
    own = catalog.own_index(segment)
    if own is not None:
        catalog.adopt([own])
        catalog.growing.pop(segment.name, None)
        catalog.grown = tuple(one for one in catalog.grown if one is not tail)


def look_into(catalog: Catalog, directory: str) -> bool:
    """Take in the segments that are new in a directory, and let go of those that are gone.

    Returns:
        Whether any is new.
    """
    with catalog.lock:
        if directory not in catalog.directories:
            catalog.directories.append(directory)
        source = catalog.directories.index(directory)
        names = set(catalog.names(directory))
        new = False
        for name in sorted(names.difference(catalog.segments, catalog.mine)):
            parsed = parse_name(name)
            if parsed is None:
                continue
            segment = catalog.segment_at(source, directory, name, *parsed)
            own = catalog.own_index(segment)
            if own is None:
                catalog.growing[name] = Tail(segment)
            catalog.segments[name] = segment
            if own is not None:
                catalog.adopt([own])
            new = True
        for segment in list(catalog.segments.values()):
            if segment.directory == directory and segment.name not in names:
                catalog.lose(segment)
        return new
