"""The recorded calls of an app as a table: one row a call, parameters and value as columns.

    records ─ selected (places only) ─► rows, one at a time: arguments from what the record keeps,
                                        value decoded ─► dictionaries, CSV, Parquet, pandas

Rule of this file: nothing is held but where the records are; a value is decoded when its row is
looked at, and is not kept.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.format import Failure
from parsl_ckpt.checkpoint.reading import Stored
from parsl_ckpt.checkpoint.rundir import run_of
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import (
    CacheKeyError,
    ConfigurationError,
    NotAnAppError,
    NotRecordedError,
    StoreError,
)
from parsl_ckpt.identity.outline import read_outline
from parsl_ckpt.identity.recover import Abbreviated, argument_of
from parsl_ckpt.kernel.keeping import arguments_kept
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.kernel.task import Spec
from parsl_ckpt.observe.flatten import CALL, VALUE, columns_of, named
from parsl_ckpt.observe.recorded import Edition, Found, Selection

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped, unused-ignore]

    from parsl_ckpt.kernel.kernel import Kernel

ERROR, CODE, VERSION = CALL + "error", CALL + "code", CALL + "version"
Row = dict[str, Any]


class Results:
    """The recorded calls of an app: rows, a pandas DataFrame, a CSV or Parquet file.

    Iterating gives rows, which are dictionaries: the parameters by name, then the value in the
    column ``value``; or, if it is a dictionary with names as keys, a dataclass or a named tuple,
    one column for each of its fields. A field that is named as a parameter is has ``value.`` before
    its name. A call whose value cannot be read has a column ``call.error`` in place of it.

    A table has what was recorded when it was first looked at; ask for another one later.

    Made by :meth:`~parsl_ckpt.dataflow.DataFlowKernel.results` and :func:`results`.

    Args:
        opening: gives the store.
        app: name of the app.
        edition: the code that is meant; None for that of the newest record, ``"all"`` for every.
        failures: calls that failed and have no result are rows as well.
        details: columns that tell of the call, ``call.key``, ``call.run``, ``call.began``, ...
        flatten: whether values are taken apart into columns.
        must: it is an error if nothing is recorded of the app.

    Attributes:
        app: name of the app.

    >>> table = dfk.results("simulate")  # doctest: +SKIP
    >>> best = max(table, key=lambda row: row["score"])  # doctest: +SKIP
    """

    def __init__(
        self,
        opening: Callable[[], Store],
        app: str,
        *,
        edition: Edition | str | None = None,
        failures: bool = False,
        details: bool = False,
        flatten: bool = True,
        must: bool = False,
    ) -> None:
        self.app = app
        self._opening = opening
        self._edition = edition
        self._failures = failures
        self._details = details
        self._flatten = flatten
        self._must = must
        self._known: tuple[Store, Selection] | None = None

    # --- rows ---

    def __len__(self) -> int:
        """Number of rows; no value is decoded for it."""
        return len(self._selection)

    def __iter__(self) -> Iterator[Row]:
        """The rows, in the order in which they were recorded; each is made when it is wanted."""
        for at in range(len(self)):
            yield self._row(at)

    def __getitem__(self, at: int) -> Row:
        """One row.

        Raises:
            IndexError: there are not so many.
        """
        count = len(self)
        if not -count <= at < count:
            raise IndexError(f"The table of {self.app} has {count} rows.")
        return self._row(at % count)

    def rows(self) -> list[Row]:
        """All rows at once."""
        return list(self)

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The columns that are parameters, which come first."""
        names: dict[str, None] = {}
        for edition in self._selection.editions:
            names.update(dict.fromkeys(edition.names))
        return tuple(names)

    @property
    def left_out(self) -> int:
        """Number of records under other codes of the app, which are not in the table."""
        return self._selection.left_out

    # --- elsewhere ---

    def to_pandas(self) -> DataFrame:
        """The table as a pandas DataFrame.

        Raises:
            MissingLibraryError: pandas is not installed.
        """
        from parsl_ckpt.observe.tables import library

        pandas = library("pandas", "a DataFrame")
        rows = self.rows()
        return pandas.DataFrame(rows, columns=None if rows else [*self.parameters, VALUE])

    def to_csv(self, target: str | os.PathLike[str] | IO[str], *, raw: bool = False) -> int:
        """Write the table as CSV, row by row; its first line has the names of the columns.

        Args:
            target: a path, which is replaced when everything is written; or a file open for text.
            raw: write texts as they are that a spreadsheet would take for formulas; otherwise they
                get an apostrophe in front.

        Returns:
            The number of rows.

        Raises:
            TableError: there would be too many columns.
            OSError: it cannot be written.
        """
        from parsl_ckpt.observe.tables import write_csv

        return write_csv(self, target, raw)

    def to_parquet(self, target: str | os.PathLike[str]) -> int:
        """Write the table as a Parquet file, some thousand rows at a time.

        Columns whose values are of one kind have its type; others are texts, as in CSV.

        Args:
            target: a path, which is replaced when everything is written.

        Returns:
            The number of rows.

        Raises:
            MissingLibraryError: pyarrow is not installed.
            TableError: there would be too many columns.
            OSError: it cannot be written.
        """
        from parsl_ckpt.observe.tables import write_parquet

        return write_parquet(self, target)

    def __repr__(self) -> str:
        return f"<Results of {self.app}>"

    # --- inside ---

    @property
    def _store(self) -> Store:
        if self._known is None:
            self._look()
        assert self._known is not None
        return self._known[0]

    @property
    def _selection(self) -> Selection:
        if self._known is None:
            self._look()
        assert self._known is not None
        return self._known[1]

    def _look(self) -> None:
        store = self._opening()
        found = Selection(store, self.app, self._edition, self._failures)
        self._known = store, found
        if len(found) or self._failures:
            return
        if found.left_out:
            warnings.warn(
                f"Nothing is recorded of {self.app} as its code is now; {found.left_out} records "
                "of it are of another code or version (code='all' shows them).",
                CheckpointWarning,
                stacklevel=4,
            )
        elif self._must and self.app not in found.apps:
            raise NotRecordedError(
                f"Nothing is recorded of an app {self.app!r}.",
                hint=_what_there_is(found.apps, store),
                app=self.app,
            )

    def _row(self, at: int) -> Row:
        found = self._selection.read(at)
        if found is None:
            row: Row = dict.fromkeys(self.parameters)
            row[ERROR] = "the record cannot be read any more"
            return row
        row = self._arguments(found)
        if isinstance(found.record, Failure):
            row[ERROR] = found.record.error or "it failed"
        else:
            self._add_value(row, found)
        if self._details:
            row |= _details(found)
        elif self._edition == "all":
            row[CODE] = found.record.code.hex()[:12]
            if found.record.version:
                row[VERSION] = found.record.version
        return row

    def _arguments(self, found: Found) -> Row:
        record = found.record
        row: Row = dict.fromkeys(self.parameters)
        outline = read_outline(record.outline)
        kept: dict[int, Any] | None = None
        for at, (name, leaf) in enumerate(zip(record.names, record.leaves, strict=False)):
            argument = argument_of(leaf, outline.get(at))
            if type(argument) is Abbreviated:
                if kept is None:
                    kept = arguments_kept(self._store, found.record_id, record.leaves)
                argument = kept.get(at, argument)
            row[name] = argument
        return row

    def _add_value(self, row: Row, found: Found) -> None:
        record: Any = found.record
        stored = Stored(record, found.record_id, record.parents, found.directory)
        try:
            value = self._store.value(stored, stand_ins=True)
        except StoreError as error:
            row[ERROR] = error.message
            return
        except Exception as error:  # a class of the user's
            row[ERROR] = f"the value does not decode: {type(error).__name__}: {error}"
            return
        if self._flatten:
            row.update(columns_of(value, self._taken))
        else:
            row[named(VALUE, self._taken)] = value

    @functools.cached_property
    def _taken(self) -> frozenset[str]:
        return frozenset(self.parameters)


def _details(found: Found) -> Row:
    record = found.record
    return {
        CALL + "key": record.key.hex(),
        CALL + "run": run_of(found.directory),
        CALL + "task": record.tid if record.tid >= 0 else None,
        CALL + "began": dt.datetime.fromtimestamp(record.began, dt.timezone.utc),
        CALL + "seconds": record.seconds,
        CALL + "tries": record.tries,
        CALL + "worker": record.worker,
        CODE: record.code.hex()[:12],
        VERSION: record.version,
    }


def _what_there_is(apps: set[str], store: Store) -> str:
    """What could have been meant instead; and what was left out."""
    listed = ", ".join(sorted(apps)[:20])
    text = f"There are results of: {listed}." if listed else "There are no results at all."
    untrusted = [one.text for one in store.problems if one.kind in ("untrusted", "directory")]
    return " ".join([text, *untrusted[:1]])


def chosen_code(code: str | None) -> str | None:
    """What the argument ``code`` says.

    Raises:
        ConfigurationError: it is neither None nor ``"all"``.
    """
    if code not in (None, "all"):
        raise ConfigurationError(
            f"results(code={code!r}): that is not known.",
            hint="Use 'all', or None for the code as it is now.",
            field="code",
        )
    return code


def edition_of(spec: Spec) -> Edition:
    """The code of an app as it is now.

    Raises:
        CacheKeyError: the app is not cached.
    """
    addresser = spec.addresser
    if addresser is None:
        raise CacheKeyError(
            f"The app {spec.name} is not cached, so nothing of its calls is recorded.",
            hint="Declare it with cache=True.",
            app=spec.name,
        )
    return Edition(addresser.code.digest(), addresser.version, tuple(addresser.names))


def on_kernel(
    kernel: Kernel,
    opening: Callable[[], Store],
    app: Any,
    code: str | None,
    options: dict[str, bool],
) -> Results:
    """The table of an app of which a kernel knows; see ``DataFlowKernel.results``."""
    if isinstance(app, str):
        return Results(opening, app, edition=chosen_code(code), must=True, **options)
    describe = getattr(app, "spec_on", None)
    if describe is None:
        raise _not_an_app(app)
    spec = describe(kernel)
    return Results(opening, spec.name, edition=chosen_code(code) or edition_of(spec), **options)


def _not_an_app(given: Any) -> NotAnAppError:
    return NotAnAppError(
        f"{given!r:.80} is no app, so that it has no results.", hint="Give an app, or its name."
    )


def results(
    app: Any,
    run_dir: str | os.PathLike[str] = "runinfo",
    *,
    runs: Sequence[str] | None = None,
    code: str | None = None,
    failures: bool = False,
    details: bool = False,
    flatten: bool = True,
    pickle: bool = True,
) -> Results:
    """The recorded calls of an app, from a run directory, without a kernel.

    Args:
        app: the app, or its name.
        run_dir: where the runs are, or a single store.
        runs: only these runs, such as ``["003"]``.
        code: None: calls under the code of the newest record; ``"all"``: under every code, which
            the column ``call.code`` tells.
        failures: calls that failed and have no result are rows as well, with the column
            ``call.error``.
        details: columns that tell of the call: ``call.key``, ``call.run``, ``call.task``,
            ``call.began``, ``call.seconds``, ``call.tries``, ``call.worker``, ``call.code``,
            ``call.version``.
        flatten: whether values are taken apart into columns.
        pickle: values may be unpickled, which runs code; otherwise such a row has a
            ``call.error``, and no module is imported.

    Raises:
        CheckpointNotFoundError: there is no such directory or run.
        NotRecordedError: when the rows are asked for: nothing is recorded of the app.
        ConfigurationError: ``code`` is not known.
        NotAnAppError: it is no app, nor a name.
    """
    from parsl_ckpt.checkpoint.inventory import find
    from parsl_ckpt.checkpoint.where import reading

    name = app if isinstance(app, str) else getattr(app, "__name__", None)
    if name is None:
        raise _not_an_app(app)
    places = find(reading(run_dir), run_dir, list(runs) if runs is not None else None)
    directories = [place.directory for place in places]
    return Results(
        lambda: Store.open(None, sources=directories, named=False, pickle=pickle), name,
        edition=chosen_code(code), failures=failures, details=details, flatten=flatten, must=True,
    )  # fmt: skip
