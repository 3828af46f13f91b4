"""What a run is told: :class:`Config`, and the dictionary that it used to be.

Every field is checked when the configuration is made, by its type and by what it means, and an
error names the field.  No executor is imported here: executors are handed in, or named by the
legacy dictionary and made by :mod:`parsl_ckpt.dataflow`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Union, get_type_hints

from typeguard import TypeCheckError, check_type

from parsl_ckpt.checkpoint.where import is_url
from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.executors.base import NamedExecutor, is_provider
from parsl_ckpt.kernel.memoizer import BasicMemoizer, Memoizer
from parsl_ckpt.kernel.resolving import DependencyResolver

CheckpointMode = Literal["task_exit", "periodic", "dfk_exit", "manual"]
ExitMode = Literal["cleanup", "wait", "skip"]
Durability = Literal["process", "power"]
SingleFlight = Literal["process", "shared"]
CodeMode = Literal["closure", "function", "name"]
Trust = Literal["owner", "any"]
Compression = Literal["auto", "zstd", "none"]
# Evaluated when a configuration is made, so in the form that every supported Python understands.
PathLike = Union[str, "os.PathLike[str]"]

CACHING = "PARSL_CKPT"  # environment variable: off | refresh | read-only
_PERIOD = re.compile(r"(\d+):([0-5]\d):([0-5]\d)")


@dataclass
class Config:
    """How a run works.

    Args:
        executors: what runs the apps; empty for one pool of threads.
        checkpoint_mode: when outcomes are flushed to the checkpoint: ``"task_exit"`` (each at
            once), ``"periodic"``, ``"dfk_exit"`` (at the end), ``"manual"`` (by
            ``dfk.checkpoint()``, and at the end), or None (by ``dfk.checkpoint()`` only; the rest
            goes with the program).
        checkpoint_period: for ``"periodic"``: ``"HH:MM:SS"`` or a number of seconds.
        checkpoint_files: checkpoint directories whose outcomes are used; None for all earlier ones
            under ``run_dir`` if a mode is set, ``[]`` for none.
        single_flight: ``"shared"``: of equal calls of several processes that use ``run_dir`` one is
            computed, and the others wait for its record, unless an app says otherwise. Takes the
            mode ``"task_exit"`` and no ``checkpoint_files``, and implies ``follow``.
        run_dir: directory in which each run gets a numbered directory of its own; or a URL such as
            ``"s3://bucket/prefix"``, where runs stand as soon as they are uploaded.
        follow: what is not found is first looked for in what the other live runs whose outcomes are
            used have recorded meanwhile, those included that began later: under ``run_dir``, or the
            ``checkpoint_files`` named. Of runs in the mode ``"task_exit"`` that is every result.
        app_cache: False switches caching off for all apps.
        memoizer: a :class:`~parsl_ckpt.kernel.memoizer.Memoizer`, who is asked about calls of which
            nothing is recorded. What a ``BasicMemoizer`` says of ``checkpoint_mode``,
            ``checkpoint_period``, ``checkpoint_files`` and ``memoize`` (here ``app_cache``) holds
            for the run; it must not say otherwise here.
        retries: how often a failed task is tried again (the sum of costs, with a handler).
        retry_handler: ``handler(exception, task_record) -> cost`` of one failure.
        dependency_resolver: where futures are looked for among the arguments of a call: a
            :class:`~parsl_ckpt.kernel.resolving.DependencyResolver`; None for builtin containers at
            any depth.
        std_autopath: ``std_autopath(task_record, "stdout" or "stderr")`` names the files of streams
            that are given as ``AUTO_LOGNAME``: a path, (path, mode) or a File; None for
            ``task_logs/`` in the run's directory.
        exit_mode: what the end of a ``with`` block does: ``"cleanup"`` cancels what has not begun,
            ``"wait"`` waits for all tasks first unless there was an exception, ``"skip"`` nothing.
        grace: seconds for which tasks that run are waited for at an end by a signal or an
            exception.
        durability: ``"process"``: a flushed outcome survives the death of the process at any
            instruction, and reaches the disk within a second. ``"power"``: it is on the disk before
            its future is done.
        lazy_errors: False raises the first failure at the next call and starts nothing new.
        pickle: False neither writes nor reads pickled values; what the plain codec cannot carry is
            not recorded.
        code: what of an app's code counts, where the app does not say: ``"closure"`` (all of the
            user's code that it reaches), ``"function"`` (its own), ``"name"`` (none).
        trust: ``"owner"`` uses no checkpoint that others own or can write to; ``"any"`` does.
        signing_key: what is recorded is signed with it, and nothing that is not is used: at least
            16 bytes, or the path of a file outside of ``run_dir`` that holds them; None for what
            the environment variable PARSL_CKPT_KEY says, if anything.
        compression: ``"auto"``: what shrinks, if zstd is installed; ``"zstd"``; ``"none"``.
        secret: names of parameters, in whatever app, whose values must not be told from the
            checkpoint; they count by a digest that is keyed.
        previews: False records digests of all arguments, short ones too.
        max_checkpoint_bytes: prune the checkpoints of runs that are over, when all of ``run_dir``
            takes more than this: what is cheapest to compute again for its size goes first. None
            for no bound.
        audit_rate: share of the hits, from 0 to 1, that are executed again beside the run and
            compared; an app whose outcomes differ is named in a warning.
        storage_options: for the file system of a URL, as fsspec calls them.
        upload_period: seconds between two uploads, where ``run_dir`` is a URL.
        storage_access: ``Staging`` providers, asked in turn who fetches input files of other
            schemes than ``file:`` and delivers output files, for executors that do not say; None
            for zip files and everything that fsspec knows.
        initialize_logging: True writes a log of the run, ``parsl_ckpt.log`` in its directory; False
            does not; an object with ``initialize_logging(log_dir=..., log_name=...)`` is called to
            set logging up, and gives what undoes that.
        show_progress: show a progress bar while the run is loaded with :func:`parsl_ckpt.load`.

    Raises:
        ConfigurationError: a field is wrong; it names the field.

    >>> Config(checkpoint_mode="periodic", checkpoint_period="00:10:00").period_seconds
    600.0
    """

    executors: Sequence[Any] = field(default_factory=tuple)
    checkpoint_mode: CheckpointMode | None = None
    checkpoint_period: str | float | int | None = None
    checkpoint_files: Sequence[PathLike] | None = None
    run_dir: PathLike = "runinfo"
    follow: bool = False
    single_flight: SingleFlight = "process"
    app_cache: bool = True
    memoizer: Memoizer | None = None
    retries: float | int = 0
    retry_handler: Callable[..., float | int] | None = None
    dependency_resolver: DependencyResolver | None = None
    std_autopath: Callable[[Mapping[str, Any], str], Any] | None = None
    exit_mode: ExitMode = "cleanup"
    grace: float | int = 10.0
    durability: Durability = "process"
    lazy_errors: bool = True
    pickle: bool = True
    code: CodeMode = "closure"
    trust: Trust = "owner"
    signing_key: bytes | PathLike | None = field(default=None, repr=False)
    compression: Compression = "auto"
    secret: Collection[str] = frozenset()
    previews: bool = True
    max_checkpoint_bytes: int | None = None
    audit_rate: float | int = 0.0
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    upload_period: float | int = 10.0
    storage_access: Sequence[Any] | None = None
    initialize_logging: Any = True
    show_progress: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.memoizer, BasicMemoizer):
            self._heed(self.memoizer)
        check_files(self.checkpoint_files)
        for one in fields(self):
            self._check(one.name)
        if self.single_flight == "shared" and self.checkpoint_mode != "task_exit":
            raise _wrong(
                "single_flight", self.single_flight, "takes checkpoint_mode='task_exit', or those "
                "who wait would see no record",
                hint="Add checkpoint_mode='task_exit', or leave single_flight out.",
            )  # fmt: skip
        if isinstance(self.secret, (str, bytes)) or not all(type(n) is str for n in self.secret):
            raise _wrong("secret", self.secret, "is not a set of names")
        if not os.fspath(self.run_dir):
            raise _wrong("run_dir", self.run_dir, "is empty", hint="Use '.' for this directory.")
        if not self.retries >= 0:
            raise _wrong("retries", self.retries, "is no number of retries")
        if self.max_checkpoint_bytes is not None and self.max_checkpoint_bytes <= 0:
            raise _wrong(
                "max_checkpoint_bytes", self.max_checkpoint_bytes, "is not positive",
                hint="Use a number of bytes, or None for no limit.",
            )  # fmt: skip
        if self.max_checkpoint_bytes is not None and is_url(self.run_dir):
            raise _wrong(
                "max_checkpoint_bytes", self.max_checkpoint_bytes,
                f"cannot be kept: {os.fspath(self.run_dir)} is not pruned in place",
                hint="Let a lifecycle rule of the bucket remove old runs.",
            )  # fmt: skip
        if not isinstance(self.initialize_logging, bool) and not callable(
            getattr(self.initialize_logging, "initialize_logging", None)
        ):
            raise _wrong(
                "initialize_logging", self.initialize_logging, "is no log configuration",
                hint="Use True, False, or an object with a method initialize_logging.",
            )  # fmt: skip
        if not 0 <= self.audit_rate <= 1:
            raise _wrong("audit_rate", self.audit_rate, "is not between 0 and 1")
        if not 0 < self.upload_period < float("inf"):
            raise _wrong(
                "upload_period", self.upload_period, "is not a positive time",
            )  # fmt: skip
        if not self.grace >= 0:
            raise _wrong("grace", self.grace, "is no length of time")
        if not all(map(is_provider, self.storage_access or ())):
            raise _wrong(
                "storage_access", self.storage_access, "is not a list of Staging providers",
                hint="Give instances of classes made from parsl_ckpt.apps.staging.Staging.",
            )  # fmt: skip
        self.period_seconds = parse_period(self.checkpoint_period)
        labels: set[str] = set()
        for executor in self.executors:
            label = getattr(executor, "label", None)
            if not isinstance(label, str):
                raise _wrong(
                    "executors", executor, "is not one of our executors",
                    hint="Use ThreadPoolExecutor, ProcessPoolExecutor, or wrap() any other.",
                )  # fmt: skip
            if label in labels:
                raise ConfigurationError(
                    f"Two executors have the label {label!r} (Config.executors).",
                    hint="Give each a label of its own: label='...'.",
                    field="executors",
                    label=label,
                )
            labels.add(label)

    def _heed(self, memoizer: BasicMemoizer) -> None:
        """Take over what a memoizer says, unless it is said here as well and otherwise."""
        for name, theirs in _MEMOIZED.items():
            usual = _USUAL[name]
            here, there = getattr(self, name), getattr(memoizer, theirs)
            if here == usual:
                setattr(self, name, there)
            elif there not in (usual, here):
                raise _wrong(
                    name, here, f"contradicts {theirs}={there!r} of Config.memoizer",
                    hint=f"Leave {name} out, or {theirs} of the memoizer.",
                )  # fmt: skip

    def _check(self, name: str) -> None:
        value = getattr(self, name)
        expected = _HINTS[name]
        try:
            if isinstance(value, bool) and expected not in (bool, Any):
                raise TypeCheckError("is a bool")
            if isinstance(value, (str, bytes)) and name in _LISTS:
                raise TypeCheckError("is a text, which is a sequence too")
            check_type(value, expected)
        except TypeCheckError:  # what it says is about annotations, which the user has not written
            raise _wrong(name, value, "is not one of its values") from None


_HINTS = get_type_hints(Config) if hasattr(type, "__or__") else {}
_MEMOIZED = {
    "checkpoint_mode": "checkpoint_mode", "checkpoint_period": "checkpoint_period",
    "checkpoint_files": "checkpoint_files", "app_cache": "memoize",
}  # fmt: skip
_LISTS = ("executors", "storage_access")
_USUAL = {one.name: one.default for one in fields(Config)}
_ALLOWED = {
    "checkpoint_mode": "Use 'task_exit', 'periodic', 'dfk_exit', 'manual' or None.",
    "dependency_resolver": "Give a DependencyResolver, or None for builtin containers.",
    "std_autopath": "Give a function of a task's record and a stream's name, or None.",
    "exit_mode": "Use 'cleanup', 'wait' or 'skip'.",
    "single_flight": "Use 'process' or 'shared'.",
    "durability": "Use 'process' or 'power'.",
    "code": "Use 'closure', 'function' or 'name'.",
    "executors": "Give a list of ThreadPoolExecutor, ProcessPoolExecutor, or wrap() of another.",
    "trust": "Use 'owner' or 'any'.",
    "compression": "Use 'auto', 'zstd' or 'none'.",
    "signing_key": "Give bytes or the path of a file.",
    "secret": "Give a set of parameter names.",
    "checkpoint_period": "Use 'HH:MM:SS', such as '00:30:00', or a positive number of seconds.",
    "checkpoint_files": "Give a list of checkpoint directories, or None for all earlier ones.",
    "run_dir": "Give the path of a directory.",
    "audit_rate": "Use a number from 0 (none) to 1 (all hits).",
    "memoizer": "Give a parsl_ckpt.BasicMemoizer, or a subclass of it or of Memoizer.",
    "retries": "Use a number of 0 or more; 0 for no retries.",
    "grace": "Use a number of seconds, 0 or more.",
    "storage_options": "Give a dictionary for fsspec's file system, such as {'profile': 'work'}.",
    "upload_period": "Use a positive number of seconds.",
    "storage_access": "Give a list of Staging providers, or None for the ready-made ones.",
    "max_checkpoint_bytes": "Use a whole number of bytes, or None for no limit.",
    "retry_handler": "Give a function of the exception and the task's record that returns a cost.",
}


def parse_period(period: str | float | None) -> float:
    """Seconds of a checkpoint period.

    Args:
        period: ``"HH:MM:SS"``, a number of seconds, or None for half an hour.

    Raises:
        ConfigurationError: it is neither, or not positive.

    >>> parse_period("01:00:00"), parse_period(2.5)
    (3600.0, 2.5)
    """
    hint = "Use 'HH:MM:SS', such as '00:30:00', or a positive number of seconds."
    if period is None:
        return 1800.0
    if isinstance(period, str):
        match = _PERIOD.fullmatch(period.strip())
        if match is None:
            raise _wrong("checkpoint_period", period, "is not a time", hint=hint)
        hours, minutes, seconds = (int(part) for part in match.groups())
        length: float = hours * 3600 + minutes * 60 + seconds
    else:
        length = period
    if not 0 < length < float("inf"):
        raise _wrong("checkpoint_period", period, "is not a positive time", hint=hint)
    return float(length)


def caching(config: Config) -> tuple[bool, bool]:
    """Whether outcomes are looked up, and whether they are recorded.

    Raises:
        ConfigurationError: the environment variable PARSL_CKPT is none of its values.
    """
    wish = os.environ.get(CACHING, "")
    known = {"": (True, True), "off": (False, False), "refresh": (False, True),
             "read-only": (True, False)}  # fmt: skip
    if wish not in known:
        raise ConfigurationError(
            f"The environment variable {CACHING} is {wish!r}.",
            hint="Use off, refresh, read-only, or unset it.",
            field=CACHING,
        )
    return known[wish] if config.app_cache else (False, False)


def _wrong(name: str, value: object, what: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"Config.{name}: {value!r} {what}.",
        hint=hint or _ALLOWED.get(name, "Use True or False."),
        field=name,
        value=value,
    )


def check_files(named: Any) -> None:
    """Refuse checkpoints that are not named in a list.

    Raises:
        ConfigurationError: of the field ``checkpoint_files``.
    """
    if isinstance(named, (str, bytes, os.PathLike)):
        raise _wrong(
            "checkpoint_files", named, "is one path, not a list", hint="Put it into a list: [...]."
        )
    try:
        check_type(named, _HINTS["checkpoint_files"])
    except TypeCheckError:
        raise _wrong("checkpoint_files", named, "is not one of its values") from None


def check_sharing(config: Config, named: Sequence[Any] | None) -> None:
    """Refuse to share what cannot be shared.

    Args:
        config: the configuration.
        named: the checkpoints that were named, or None.

    Raises:
        ConfigurationError: the field ``single_flight`` contradicts others.
    """
    if config.single_flight != "shared":
        return
    wrong = None
    if named is not None:
        wrong = "checkpoint_files leaves other runs out", "Leave checkpoint_files out"
    elif is_url(config.run_dir):
        wrong = "a remote run_dir has no exclusive creation", "Use a directory that hosts share"
    if wrong:
        raise ConfigurationError(
            f"Config.single_flight: 'shared' waits for what other runs record; {wrong[0]}.",
            hint=f"{wrong[1]}, or leave single_flight out.",
            field="single_flight",
        )


# -- the legacy dictionary -----------------------------------------------------------------------


_GLOBALS = {
    "lazyErrors": "lazy_errors",
    "memoize": "app_cache",
    "appCache": "app_cache",
    "checkpointMode": "checkpoint_mode",
    "checkpointPeriod": "checkpoint_period",
    "checkpointFiles": "checkpoint_files",
    "retries": "retries",
    "runDir": "run_dir",
}
_ENTRIES = ("globals", "sites", "controller")  # the last is for IPyParallel, and has no effect
_A_SITE = (
    "A site is such as {'site': 'Local', 'execution': {'executor': 'threads', 'maxThreads': 4}}."
)
_KINDS = {
    "threads": "threads", "local_threads": "threads", "processes": "processes",
    "local_processes": "processes",
}  # fmt: skip


def from_legacy(config: Mapping[str, Any]) -> Config:
    """A configuration from the dictionary of the original API.

    Args:
        config: ``{"sites": [{"site": name, "execution": {"executor": "threads" | "processes",
            "maxThreads": n}}], "globals": {...}}``; unknown entries of a site are ignored.

    Raises:
        ConfigurationError: an entry is wrong; it names the entry.

    >>> from_legacy({"globals": {"retries": 2}}).retries
    2
    """
    if not isinstance(config, Mapping):
        raise ConfigurationError(
            f"A configuration must be a Config or a dictionary, not {type(config).__name__}.",
            hint="Use Config(executors=[...], checkpoint_mode='task_exit').",
            field="config",
        )
    unknown = [name for name in config if name not in _ENTRIES]
    if unknown:
        raise ConfigurationError(
            f"The configuration has no entry {unknown[0]!r}.",
            hint=f"Known: {', '.join(_ENTRIES)}.",
            field=unknown[0],
        )
    options: dict[str, Any] = {}
    settings, sites = config.get("globals") or {}, config.get("sites") or []
    if not isinstance(settings, Mapping):
        raise ConfigurationError(
            f"config['globals'] is {settings!r}, not a dictionary.",
            hint="Such as {'lazyErrors': True, 'checkpointMode': 'task_exit'}.",
            field="config['globals']",
        )
    if not isinstance(sites, (list, tuple)):
        raise ConfigurationError(
            f"config['sites'] is {sites!r}, not a list of sites.",
            hint=_A_SITE,
            field="config['sites']",
        )
    for name, value in settings.items():
        if name not in _GLOBALS:
            raise ConfigurationError(
                f"config['globals'] has no entry {name!r}.",
                hint=f"Known: {', '.join(sorted(_GLOBALS))}.",
                field=name,
            )
        options[_GLOBALS[name]] = value
    executors = [_named_executor(site, i) for i, site in enumerate(sites)]
    return Config(executors=executors, **options)


def _named_executor(site: Any, position: int) -> NamedExecutor:
    place = f"config['sites'][{position}]"
    execution = site.get("execution") if isinstance(site, Mapping) else None
    if not isinstance(execution, Mapping):
        execution = {}
    wanted = execution.get("executor")
    if not isinstance(wanted, str) or wanted not in _KINDS:
        raise ConfigurationError(
            f"{place}['execution']['executor'] must be 'threads' or 'processes', not {wanted!r}.",
            hint=_A_SITE,
            field=f"{place}['execution']['executor']",
        )
    workers = execution.get("maxThreads")
    if workers is not None and (
        isinstance(workers, bool) or not isinstance(workers, int) or workers < 1
    ):
        raise ConfigurationError(
            f"{place}['execution']['maxThreads'] is {workers!r}, not a positive number.",
            hint="Leave it out for one for each core.",
            field=f"{place}['execution']['maxThreads']",
        )
    kind = _KINDS[wanted]
    return NamedExecutor(kind, str(site.get("site") or f"{kind}-{position}"), workers)
