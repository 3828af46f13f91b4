"""Output files: whether they are there after a call, and whether they still are at a hit.

    worker: call ─► look ─► Made(name, size, digest, stamp) ─► home: a note, written before the
    record ─► later run: find ─► holds? ─┬─ yes ─► hit
                                         └─ gone, altered, cannot be told ─► it runs again

Rule of this file: a record of a call with output files stands for what is in those files, too.  A
file counts by its content.  Its stamp (for a local file: device, inode, size and times) only saves
reading it, and is noted only when it is older than the clock's grain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from parsl_ckpt.errors import MissingOutputs, ParslCkptError

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.store import Stored
    from parsl_ckpt.kernel.futures import AppFuture
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.request import Request
    from parsl_ckpt.kernel.task import Spec

OUTPUTS = "outputs"  # the note that keeps what was made


_THERE = b"there"


class FileObject:
    """What :class:`parsl_ckpt.apps.files.File` is to the kernel.

    Attributes:
        any_made: a file has been spoken of in this process.
        any_elsewhere: one that is not on this machine.
        elsewhere: it has to be fetched before it is read, and delivered after it is written.
    """

    __slots__ = ()
    any_made: ClassVar[bool] = False
    any_elsewhere: ClassVar[bool] = False

    @property
    def elsewhere(self) -> bool:
        raise NotImplementedError


def here(value: Any) -> bool:
    """Whether a value is anything but a file that has to be fetched or delivered."""
    return not (isinstance(value, FileObject) and value.elsewhere)


class Made(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A file that a call has written.

    Attributes:
        name: path or URL.
        size: bytes; 0 for a directory.
        digest: of the content; empty if there was no file.
        stamp: what changes whenever the file does, and is cheaper to get; empty if nothing is.
    """

    name: str
    size: int
    digest: bytes
    stamp: bytes = b""


class Outputs(msgspec.Struct, array_like=True, frozen=True):
    """What a call has left behind beside its value.

    Attributes:
        files: its output files, in the order in which they were asked for.
        stdout, stderr: paths of its standard streams; empty where they went nowhere of their own.
    """

    files: tuple[Made, ...] = ()
    stdout: str = ""
    stderr: str = ""


class Delivered(msgspec.Struct):
    """The value of a call on its way home, with what it has made, or why that cannot be told."""

    value: Any
    files: tuple[Made, ...] | ParslCkptError


def check(app: str, files: Sequence[Any]) -> None:
    """Whether a call has written its files.

    Raises:
        MissingOutputs: it has not; names the app and the files.
    """
    missing = [file for file in files if not file.exists()]
    if missing:
        names = ", ".join(str(file) or "''" for file in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise MissingOutputs(
            f"{app} succeeded and did not write {names}{more}.",
            missing,
            hint="Write each file of outputs=, or leave out what need not be written.",
            app=app,
        )


def made(file: Any) -> Made:
    """What is in a file now.

    Raises:
        FileIdentityError: it cannot be read.
    """
    if not file.exists():  # it need not be written
        return Made(file.url, 0, b"")
    file.settle()
    stamp = file.stamp()  # first: what changes it while it is read, or later, changes that
    return Made(file.url, file.size(), digest_of(file), stamp)


def digest_of(file: Any) -> bytes:
    """What is in a file; of one that counts by its path, that it is there."""
    content: bytes = _THERE if file.identity == "path" else file.content()
    return content


def all_made(files: Sequence[Any], one: Callable[[Any], Made]) -> tuple[Made, ...] | ParslCkptError:
    """What is in files; the error if that cannot be told, which is no failure of the call."""
    try:
        return tuple([one(file) for file in files])
    except ParslCkptError as error:
        return error


def encode(outputs: Outputs) -> bytes:
    """A note of what a call has left behind."""
    return msgspec.msgpack.encode(outputs)


def decode(note: bytes | None) -> Outputs | None:
    """What a call has left behind, from a note; None if it cannot be told."""
    if note is None:
        return None
    try:
        return msgspec.msgpack.decode(note, type=Outputs)
    except msgspec.MsgspecError:
        return None


def spoiled(noted: Outputs | None, files: Sequence[Any]) -> tuple[str, Outputs | None]:
    """What is wrong with output files, compared with what was noted.

    Returns:
        A few words, empty if nothing is (nor if files were noted that are not asked for); and a
        note that takes the place of the one there was, if it lets the next look be cheaper.
    """
    if noted is None or len(noted.files) < len(files):
        return "what its output files were is not recorded", None
    known, others = noted.files[: len(files)], noted.files[len(files) :]
    fresh = []
    for file, was in zip(files, known, strict=True):
        try:
            if not was.digest and file.exists():
                return f"its output file {file} has appeared", None
            stamp = file.stamp() if was.digest else b""
            if was.digest and (not stamp or stamp != was.stamp):
                if not file.exists():
                    return f"its output file {file} is gone", None
                if digest_of(file) != was.digest:
                    return f"its output file {file} has changed", None
        except (ParslCkptError, OSError) as error:
            return f"its output file {file} cannot be read ({error})", None
        fresh.append(Made(was.name, was.size, was.digest, stamp))
    if all(now.stamp == was.stamp for now, was in zip(fresh, known, strict=True)):
        return "", None
    return "", Outputs((*fresh, *others), noted.stdout, noted.stderr)


class Holding:
    """Whether a record may be used for a call that has output files.

    Args:
        kernel: where notes are.
        files: the files that the call asks for.
        valid: what the app says about its records; None for nothing.

    Attributes:
        wrong: what was wrong with the files of the record that was looked at last; empty for
            nothing.
        directory: the checkpoint in which that record is.
    """

    __slots__ = ("_files", "_kernel", "_valid", "directory", "wrong")

    def __init__(
        self, kernel: Kernel, files: Sequence[Any], valid: Callable[[Stored], bool] | None
    ) -> None:
        self._kernel = kernel
        self._files = files
        self._valid = valid
        self.wrong = self.directory = ""

    def __call__(self, stored: Stored) -> bool:
        """Whether a record may be used."""
        if self._valid is not None and not self._valid(stored):
            return False
        kernel = self._kernel
        noted = decode(kernel.store.note(stored.record_id, OUTPUTS))
        self.directory = stored.directory
        self.wrong, better = spoiled(noted, self._files)
        if better is not None and kernel.memo.record:
            note = kernel.store.stage_note(stored.record_id, OUTPUTS, encode(better))
            kernel.writer.commit(None, note)
        return not self.wrong


def validity(
    kernel: Kernel, spec: Spec, request: Request | None
) -> Callable[[Stored], bool] | None:
    """Whether a record may be used for a call; None for always."""
    files = () if request is None else request.outputs
    if request is not None and request.named:  # by the run: those of an earlier one are others
        files = files[: -request.named]
    return Holding(kernel, files, spec.valid) if files else spec.valid


def remember(valid: Callable[[Stored], bool] | None, future: AppFuture) -> None:
    """Keep with a future why a record that there was did not hold, for ``why()``."""
    if type(valid) is Holding and valid.wrong:
        future.__dict__["_spoiled"] = valid.wrong, valid.directory
