"""Blessing: what an earlier version of an app's code computed holds for its code as it is now.

    records under other codes ─ group by code ─ execute specimens ─ all values equal? ─► aliases

Rule of this file: nothing is filed unless every specimen of that code gave the value that is
recorded.  What is filed are aliases, and a record of the run that says who did it and why it was
allowed; both can be removed again (:func:`revoke`).
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.format import Alias, Result
from parsl_ckpt.errors import BlessingError, CacheKeyError, NotAnAppError
from parsl_ckpt.kernel.arguments import gather
from parsl_ckpt.kernel.auditing import same_value
from parsl_ckpt.kernel.specimens import arguments_of_specimen

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.store import Store
    from parsl_ckpt.identity.address import Addresser
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.task import Spec

BLESSING, REVOKED = "blessing", "blessing revoked"  # events of a run
BATCH = 1024  # aliases written at once


@dataclass(frozen=True)
class Blessing:
    """What blessing an app did.

    Attributes:
        app: its name.
        code: digest of its code now, in hexadecimal.
        blessed: digests of the codes whose records hold.
        refused: digest of a code → why its records do not.
        executed: keys of the calls that were executed again.
        records: how many records are filed under the code as it is now as well.
    """

    app: str
    code: str
    blessed: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    executed: tuple[str, ...] = ()
    records: int = 0


def spec_of(kernel: Kernel, app: Any) -> Spec:
    """What a kernel knows of an app.

    Raises:
        NotAnAppError: it is no app.
    """
    describe = getattr(app, "spec_on", None)
    if describe is None:
        raise NotAnAppError(
            f"{app!r:.80} is no app, so that its code has no records.",
            hint="Give the app itself, as it is now.",
        )
    spec: Spec = describe(kernel)
    return spec


def bless(kernel: Kernel, spec: Spec, sample: int = 5, dry_run: bool = False) -> Blessing:
    """File what is recorded under earlier versions of an app's code under its code now as well.

    Args:
        kernel: executes the sample, finds and files the records.
        spec: the app.
        sample: how many recorded calls are executed for each earlier code, at most.
        dry_run: file nothing.

    Raises:
        BlessingError: nothing is recorded under another code, ``sample`` is not positive, or it is
            a bash app.
        CacheKeyError: the app is not cached, or its code does not count.
        StoreWriteError: the aliases cannot be written.
    """
    addresser = _addresser(spec)
    if spec.kind == "bash":
        raise BlessingError(
            f"{spec.name} is a bash app: its outcome is 0 whatever the command does, so executing "
            "it again would prove nothing.",
            hint="Have its calls run anew.",
            app=spec.name,
        )
    if sample < 1:
        raise BlessingError(
            f"{spec.name} cannot be blessed by a sample of {sample} calls.",
            hint="Use a sample of at least 1.",
            app=spec.name,
        )
    code = addresser.code.digest()
    groups = _groups(kernel.store, addresser, code)
    if not groups:
        raise BlessingError(
            f"Nothing is recorded of {spec.name} under other code than it has now.",
            hint="Blessing is for what was computed before an edit; 'parsl-ckpt ls --by-app' lists "
            "what is recorded.",
            app=spec.name,
        )
    blessed, refused, executed, count = [], {}, [], 0
    for old, ids in groups.items():
        tried, why = _try(kernel, spec, addresser, ids, sample)
        executed += tried
        if why:
            refused[old.hex()] = why
            continue
        blessed.append(old.hex())
        if not dry_run:
            count += _file(kernel.store, addresser, code, ids)
        else:
            count += len(ids)
    done = Blessing(spec.name, code.hex(), tuple(blessed), refused, tuple(executed), count)
    if blessed and not dry_run:
        _note(kernel.store, BLESSING, done)
    return done


def revoke(kernel: Kernel, spec: Spec) -> int:
    """Take back every blessing of an app's code as it is now; how many aliases were removed.

    Raises:
        CacheKeyError: the app is not cached, or its code does not count.
        StoreWriteError: the removal cannot be recorded.
    """
    addresser = _addresser(spec)
    store, code = kernel.store, addresser.code.digest()
    blessed = {
        addresser.key_under(code, result.leaves): record_id
        for ids in _groups(store, addresser, code).values()
        for record_id, result in ids
    }
    aliases = [
        record_id
        for _, record_id, record in store.records()
        if isinstance(record, Alias) and blessed.get(record.key) == record.record_id
        and record_id not in store.catalog.removed
    ]  # fmt: skip
    for start in range(0, len(aliases), BATCH):
        store.remove(*aliases[start : start + BATCH], reason=REVOKED)
    if aliases:
        _note(store, REVOKED, Blessing(spec.name, code.hex(), records=len(aliases)))
    return len(aliases)


Recorded = list[tuple[bytes, Result]]


def _addresser(spec: Spec) -> Addresser:
    if spec.addresser is None or spec.addresser.code.mode == "name":
        raise CacheKeyError(
            f"The code of {spec.name} does not count, so there is nothing to bless.",
            hint="Blessing is for apps with cache=True and code='closure' or 'function'.",
            app=spec.name,
        )
    return spec.addresser


def _groups(store: Store, addresser: Addresser, code: bytes) -> dict[bytes, Recorded]:
    """The newest records of each call under other codes, by code."""
    found: dict[bytes, dict[bytes, tuple[bytes, Result]]] = {}
    for _, record_id, record in store.records():
        if (
            isinstance(record, Result)
            and record.app == addresser.app
            and record.code != code
            and record.version == addresser.version
            and tuple(record.names) == addresser.names
            and record_id not in store.catalog.removed
            # Not so where previews are switched off: the leaves are not what was digested.
            and addresser.key_under(record.code, record.leaves) == record.key
        ):
            found.setdefault(record.code, {})[record.key] = record_id, _light(record)
    return {old: list(records.values()) for old, records in found.items()}


def _light(record: Result) -> Result:
    import msgspec

    return msgspec.structs.replace(record, value=b"", parts=(), outline=b"")


def _try(
    kernel: Kernel, spec: Spec, addresser: Addresser, records: Recorded, sample: int
) -> tuple[list[str], str]:
    """Execute some recorded calls: their keys, and why the records do not hold, or nothing."""
    tried: list[str] = []
    for _, result, args, kwargs in _specimens(kernel.store, addresser, records):
        key = result.key.hex()[:16]
        tried.append(result.key.hex())
        future = kernel.submission.rehearse(spec, gather(args, kwargs))
        error = future.exception()
        if error is not None:
            return tried, f"call {key} raised {type(error).__name__}: {error}"
        stored = kernel.store.find(result.key)
        if stored is None:
            return tried, f"the outcome of call {key} is not there any more"
        try:
            recorded = kernel.store.value(stored)
        except Exception as unreadable:
            return tried, f"the outcome of call {key} cannot be read: {unreadable}"
        if not same_value(recorded, future.result()):
            return tried, f"call {key} gave another value"
        if len(tried) >= sample:
            break
    if not tried:
        return tried, "of none of its calls the arguments were kept, so none could be executed"
    return tried, ""


def _specimens(
    store: Store, addresser: Addresser, records: Sequence[tuple[bytes, Result]]
) -> Iterator[tuple[bytes, Result, tuple[Any, ...], dict[str, Any]]]:
    for record_id, result in reversed(records):
        found = arguments_of_specimen(store, addresser, record_id, result)
        if found is not None:
            yield record_id, result, *found


def _file(store: Store, addresser: Addresser, code: bytes, records: Recorded) -> int:
    filed = []
    for record_id, result in records:
        key = addresser.key_under(code, result.leaves)
        if store.find(key) is None:
            filed.append(
                store.stage_alias(
                    key=key, record_id=record_id, target=result.key, parents=result.parents
                )
            )
    for start in range(0, len(filed), BATCH):
        store.append(filed[start : start + BATCH])
    return len(filed)


def _note(store: Store, event: str, done: Blessing) -> None:
    data = {
        "app": done.app, "code": done.code, "blessed": list(done.blessed),
        "executed": list(done.executed), "records": done.records, "time": time.time(),
        "user": getpass.getuser(),
    }  # fmt: skip
    store.append([store.stage_run(event, data)])
