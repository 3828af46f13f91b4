"""Tell all about one record: its address part by part, where and when it ran, its value.

KEY is the beginning of a key or of a record's id, as 'parsl-ckpt ls' shows it. Values that were
pickled are shown with --value only, because unpickling runs code.
"""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.items import Item
    from parsl_ckpt.checkpoint.store import Store

PREVIEW = 500
CODECS = {1: "plain", 2: "pickle", 3: "dill"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", type=_common.key, help="the beginning of a key")
    _common.run_dir(parser)
    parser.add_argument(
        "--value", action="store_true", help="show the whole value, also if it is pickled"
    )
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint.items import Filter, items
    from parsl_ckpt.checkpoint.store import Store
    from parsl_ckpt.errors import CheckpointNotFoundError

    backend, places = _common.places(options)
    found = list(items(backend, places, Filter(keys=[options.key]), _common.signer(options)))
    if not found:
        _common.tell_withheld(options, backend, places)
        raise CheckpointNotFoundError(
            f"No record has a key that begins with {options.key}.",
            hint="'parsl-ckpt ls' lists what there is.",
        )
    calls = {item.key for item in found}
    if len(calls) > 1:
        raise CheckpointNotFoundError(
            f"{len(calls)} calls have keys that begin with {options.key}: "
            f"{', '.join(sorted(key.hex()[:16] for key in calls)[:8])}.",
            hint="Give more of the key.",
        )
    sources = [place.directory for place in places]
    with Store.open(None, sources=sources, named=False, pickle=options.value) as store:
        told = _tell(found, store, options.value)
    if options.json:
        _common.show_json(told)
    else:
        _common.show(*_lines(told))
    return 0


def _tell(found: list[Item], store: Store, whole: bool) -> dict[str, Any]:
    from parsl_ckpt.checkpoint.format import Failure, Result
    from parsl_ckpt.identity.preview import leaf_text

    item = found[-1]  # the newest
    told: dict[str, Any] = {
        "key": item.key, "lineage": item.lineage, "record": item.record_id, "kind": item.kind,
        "app": item.app, "run": item.place.name, "began": item.began, "seconds": item.seconds,
        "size": item.size, "blobs": len(item.blobs), "others": len(found) - 1,
    }  # fmt: skip
    records: list[Any] = list(store.lookup(item.key or item.record_id))
    match = [r for r in records if type(r) in (Result, Failure) and (r.key, r.began)
             == (item.key, item.began)]  # fmt: skip
    if not match:
        if item.place.foreign is not None:
            told["value"] = f"(not read, because the run {item.place.foreign})"
        return told
    record = match[0]
    told |= {
        "code": record.code, "version": record.version, "tries": record.tries,
        "worker": record.worker,
        "arguments": {
            n: leaf_text(leaf) for n, leaf in zip(record.names, record.leaves, strict=False)
        },
    }  # fmt: skip
    if isinstance(record, Result):
        told["parents"] = [_parent(store, key) for key, _ in dict.fromkeys(record.parents)]
        told["reads"] = [str(one) for one in _undeclared(store, item.record_id)]
        told["left"] = _outputs(store, item.record_id)
        told["codec"] = CODECS.get(record.codec & 0x3F, str(record.codec))
        told["value"] = _value(store, item, record, whole)
    else:
        told["error"] = record.error
    return told


def _undeclared(store: Store, record_id: bytes) -> list[Any]:
    """What the call read beside its arguments, where it was watched."""
    from parsl_ckpt.kernel import watching

    note = store.note(record_id, watching.UNDECLARED)
    return [] if note is None else watching.decode(note)


def _outputs(store: Store, record_id: bytes) -> list[str]:
    """What the call left behind beside its value."""
    from parsl_ckpt.kernel import outputs

    noted = outputs.decode(store.note(record_id, outputs.OUTPUTS))
    if noted is None:
        return []
    files = [
        f"{file.name} ({_common.amount(file.size)})"
        if file.digest
        else f"{file.name} (not written)"
        for file in noted.files
    ]
    streams = [
        f"{name} in {path}" for name in ("stdout", "stderr") if (path := getattr(noted, name))
    ]
    return files + streams


def _value(store: Store, item: Item, record: Any, whole: bool) -> str:
    from parsl_ckpt.checkpoint.reading import Stored
    from parsl_ckpt.errors import StoreError

    if record.codec & 0x3F != 1 and not whole:
        return "(not shown, because it is pickled; --value unpickles it, which runs code)"
    try:
        stored = store.find(item.key) or Stored(record, item.record_id, (), item.place.directory)
        text = repr(store.value(stored))
    except StoreError as error:
        return f"(cannot be read: {error})"
    except Exception as error:  # a class of the user's
        return f"(cannot be shown: {type(error).__name__}: {error})"
    if whole or len(text) <= PREVIEW:
        return text
    return f"{text[:PREVIEW]}... ({len(text):,} characters; --value shows all)"


def _parent(store: Store, key: bytes) -> dict[str, Any]:
    stored = store.find(key)
    return {"key": key, "app": stored.result.app if stored is not None else None}


def _lines(told: dict[str, Any]) -> list[str]:
    when = ""
    if told["began"]:
        began = datetime.datetime.fromtimestamp(told["began"]).astimezone()
        when = f", {began:%Y-%m-%d %H:%M:%S}"
    tries = f", {told['tries']} tries" if told.get("tries", 1) > 1 else ""
    where = f" on {told['worker']}" if told.get("worker") else ""
    lines = [
        f"{told['kind']} of {told['app'] or 'no app'}",
        f"  key        {told['key'].hex()}",
    ]
    if told["lineage"]:
        lines.append(f"  lineage    {told['lineage'].hex()}")
    lines.append(f"  record     {told['record'].hex()}")
    if told.get("code"):
        version = f", version {told['version']}" if told["version"] else ""
        lines.append(f"  code       {told['code'].hex()[:16]}{version}")
    lines.append(
        f"  ran        in run {told['run']}{where}{when}, "
        f"for {_common.span(told['seconds'])}{tries}"
    )
    for name, leaf in told.get("arguments", {}).items():
        lines.append(f"  argument   {name} = {leaf}")
    for parent in told.get("parents", ()):
        app = parent["app"] or "(no longer recorded)"
        lines.append(f"  input      {parent['key'].hex()[:16]} {app}")
    lines += [f"  reads      {one}" for one in told.get("reads", ())]
    lines += [f"  left       {one}" for one in told.get("left", ())]
    blobs = f", of it {_common.plural(told['blobs'], 'blob')}" if told["blobs"] else ""
    codec = f", {told['codec']}" if "codec" in told else ""
    lines.append(f"  size       {_common.amount(told['size'])}{blobs}{codec}")
    if told["others"]:
        lines.append(f"  besides    {_common.plural(told['others'], 'other record')} of this call")
    if "error" in told:
        lines.append(f"  error      {told['error']}")
    if "value" in told:
        lines.append(f"  value      {told['value']}")
    return lines
