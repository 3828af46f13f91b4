"""The way of files in a task's attempt: fetched before the function runs, delivered after it.

    fetch inputs of other schemes ─► fn ─► are the outputs there? ─► deliver ─► digest

Rule of this file: all of it happens in the worker that runs the function, so that files travel
once and large ones are digested where they lie.  What is fetched, and what is written to be
delivered, lies in a directory that lives as long as the attempt.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from parsl_ckpt.errors import StagingError
from parsl_ckpt.kernel.arguments import Copier
from parsl_ckpt.kernel.commands import BashRunner
from parsl_ckpt.kernel.outputs import Delivered, Made, all_made, check, digest_of, here, made


class Courier:
    """A function that gets its files, and hands over what it writes; gives :class:`Delivered`.

    Args:
        fn: the function.
        app: name of the app, for messages.
        outputs: the files that it is to write.
        digest: say what is in them.
        optional: they need not be written.

    Attributes:
        providers: who fetches and delivers files of other schemes; asked in turn.
        working_dir: where those lie meanwhile; None for the system's temporary directory.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        app: str,
        outputs: Sequence[Any],
        digest: bool,
        optional: bool = False,
    ) -> None:
        self.fn = fn
        self.app = app
        self.outputs = tuple(outputs)
        self.digest = digest
        self.optional = optional
        self.providers: Sequence[Any] = ()
        self.working_dir: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Delivered:
        with _Staged(self) as staged:
            args, kwargs = staged.arguments(args, kwargs)
            fn = self.fn
            if isinstance(fn, BashRunner):
                fn = fn.placed(staged.local)
            value = fn(*args, **kwargs)
            outputs = [staged.local(file) for file in self.outputs]
            if not self.optional:
                check(self.app, outputs)
            for file in outputs:
                staged.deliver(file)
            found = all_made(outputs, self._made) if self.digest else ()
        return Delivered(value, found)

    def _made(self, file: Any) -> Made:
        if file.local_path is None or not file.exists():
            return made(file)
        # What was delivered is digested from the copy that is here; its stamp is the other's.
        provider = self.provider(file, "out")
        return Made(file.url, file.size(), digest_of(file), provider.stamp(file.cleancopy()))

    def provider(self, file: Any, way: str) -> Any:
        """Who stages a file.

        Raises:
            StagingError: nobody does.
        """
        for provider in self.providers:
            if (provider.can_stage_in if way == "in" else provider.can_stage_out)(file):
                return provider
        verb = "fetch" if way == "in" else "deliver"
        raise StagingError(
            f"{self.app}: nobody here can {verb} {file.url}.",
            hint="Name who can, in storage_access of the Config or of the executor. "
            f"Asked were: {', '.join(type(one).__name__ for one in self.providers) or 'none'}.",
            app=self.app,
            url=file.url,
        )


class _Staged:
    """The files of one attempt that are elsewhere, while they are here."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._stack = contextlib.ExitStack()
        self._directory: str | None = None
        self._local: dict[Any, Any] = {}

    def __enter__(self) -> _Staged:
        for file in self._courier.outputs:
            if not here(file):
                self._local[file] = self._place(file)
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.close()

    def local(self, file: Any) -> Any:
        """An output file where the function finds it."""
        return file if here(file) else self._local[file]

    def arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with local files in the places of those that are elsewhere."""
        copy = Copier(self._fetched)
        return tuple([copy(value) for value in args]), {k: copy(v) for k, v in kwargs.items()}

    def _fetched(self, value: Any) -> Any:
        if here(value):
            return value
        found = self._local.get(value)
        if found is None:
            provider = self._courier.provider(value, "in")
            found = self._place(value)
            with _told(self._courier.app, "fetched", value):
                provider.stage_in(found)
            self._local[value] = found
        return found

    def deliver(self, file: Any) -> None:
        """Hand over an output file that was written here."""
        if file.local_path is not None and file.exists():
            provider = self._courier.provider(file, "out")
            with _told(self._courier.app, "delivered", file):
                provider.stage_out(file)

    def _place(self, file: Any) -> Any:
        """A copy of the file that has a path here, of the same name."""
        if self._directory is None:
            self._directory = self._stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="parsl_ckpt-", dir=self._courier.working_dir, ignore_cleanup_errors=True
                )
            )
        directory = os.path.join(self._directory, str(len(self._local)))
        os.mkdir(directory)
        copied = file.cleancopy()
        copied.local_path = os.path.join(directory, file.filename or "file")
        return copied


@contextlib.contextmanager
def _told(app: str, what: str, file: Any) -> Iterator[None]:
    """Say which file it was that did not travel."""
    try:
        yield
    except StagingError:
        raise
    except Exception as error:
        raise StagingError(
            f"{app}: {file.url} could not be {what}: {type(error).__name__}: {error}.",
            hint="See the cause; retries= tries it again.",
            app=app,
            url=file.url,
        ) from error
