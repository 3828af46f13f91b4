"""List the named sets, and what their names stand for; take names out of them.

'parsl-ckpt sets' lists the sets; 'parsl-ckpt sets RELEASE' the names of one. With --drop, all names
are taken out of the set, or those that are given: what they stood for stays recorded, and may be
pruned from then on. Without --yes it only says what it would do.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.items import Item
    from parsl_ckpt.checkpoint.pins import Named


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("set", nargs="?", metavar="SET", help="one set")
    parser.add_argument("names", nargs="*", metavar="NAME", help="names in it (default: all)")
    _common.run_dir(parser)
    parser.add_argument("--drop", action="store_true", help="take them out of the set")
    _common.confirm(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain
    from parsl_ckpt.errors import CheckpointNotFoundError, ConfigurationError

    if options.drop and options.set is None:
        raise ConfigurationError(
            "Nothing says which set is meant.", hint="Name it; 'parsl-ckpt sets' lists them."
        )
    found = maintain.sets(options.run_dir)
    if options.set is None:
        _show_sets(found, options)
        return 0
    names = found.get(options.set, {})
    chosen = {name: at for name, at in names.items() if not options.names or name in options.names}
    if not chosen:
        raise CheckpointNotFoundError(
            "No name of that set is meant by that." if names else "There is no such set.",
            hint="'parsl-ckpt sets' lists the sets, with SET its names.",
        )
    if options.drop:
        _drop(chosen, options)
    else:
        _show_names(chosen, options)
    return 0


def _drop(chosen: dict[str, Named], options: argparse.Namespace) -> None:
    from parsl_ckpt.checkpoint import maintain

    dropped = maintain.unpin(options.run_dir, options.set, list(chosen), dry_run=not options.yes)
    if options.json:
        _common.show_json({"dry_run": not options.yes, "names": dropped})
        return
    verb = "Took" if options.yes else "Would take"
    _common.show(f"{verb} {_common.plural(len(dropped), 'name')} out of the set.")
    _common.tell_dry(options)


def _show_sets(found: dict[str, dict[str, Named]], options: argparse.Namespace) -> None:
    if options.json:
        _common.show_json({of: len(names) for of, names in found.items()})
    elif not found:
        _common.show(f"There are no named sets in {options.run_dir}.")
    else:
        table = _common.table("set", ">names", ">age")
        for of, names in found.items():
            newest = max(named.at for named in names.values())
            table.add_row(_told(of), f"{len(names):,}", _common.ago(newest / 1e9))
        _common.show(table)


def _show_names(chosen: dict[str, Named], options: argparse.Namespace) -> None:
    items = _results(chosen, options)
    if options.json:
        _common.show_json([_row(name, at, items) for name, at in chosen.items()])
        return
    table = _common.table("name", "app", "run", "key", ">size", ">age")
    for name, named in chosen.items():
        item = items.get(named.record_id)
        table.add_row(
            _told(name), item.app if item else "(removed)", item.place.name if item else "",
            named.key.hex()[:12], _common.amount(item.size) if item else "",
            _common.ago(named.at / 1e9),
        )  # fmt: skip
    _common.show(table)


def _results(chosen: dict[str, Named], options: argparse.Namespace) -> dict[bytes, Item]:
    """The results that names stand for, as far as they are there."""
    from parsl_ckpt.checkpoint import maintain

    ids = {named.record_id for named in chosen.values()}
    found = maintain.records(options.run_dir, lambda item: item.record_id in ids)
    return {item.record_id: item for item in found}


def _row(name: str, named: Named, items: dict[bytes, Item]) -> dict[str, Any]:
    item = items.get(named.record_id)
    return {
        "name": name, "key": named.key.hex(), "record": named.record_id.hex(),
        "named": named.at / 1e9, "app": item.app if item else None,
        "run": item.place.name if item else None, "size": item.size if item else None,
    }  # fmt: skip


def _told(label: str) -> str:
    return label if label.isprintable() and label else ascii(label)
