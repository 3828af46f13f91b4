"""Where code comes from: the user's project, an installed distribution, the standard library, us.

Rule of this file: what a user can edit counts by content, what is installed by name, version and
the digest of its RECORD, the standard library by name alone. An editable install lies outside
site-packages, so it is the user's project.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .walk import digest_of

PROJECT, INSTALLED, STANDARD, OURS = "project", "installed", "standard", "ours"

if TYPE_CHECKING:
    from importlib import metadata

_US = __name__.partition(".")[0]
_MADE_HERE = ("__main__", "__mp_main__")


def _real(path: str) -> str:
    return os.path.realpath(path) + os.sep


@lru_cache(maxsize=1)
def _places() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Directories of installed packages, and of the standard library."""
    paths = sysconfig.get_paths()
    installed = {_real(paths[key]) for key in ("purelib", "platlib")}
    with contextlib.suppress(AttributeError):  # an old virtualenv's site module has none
        installed.update(
            _real(path) for path in [*site.getsitepackages(), site.getusersitepackages()]
        )
    standard = {_real(paths[key]) for key in ("stdlib", "platstdlib")}
    return tuple(installed), tuple(standard)


@lru_cache(maxsize=4096)
def origin_of_path(path: str) -> str:
    """Whose code a file is."""
    if path.startswith("<frozen"):
        return STANDARD
    if path.startswith("<"):
        return PROJECT
    real = os.path.realpath(path)
    installed, standard = _places()
    if real.startswith(installed) or f"{os.sep}site-packages{os.sep}" in real:
        return INSTALLED
    if f"{os.sep}dist-packages{os.sep}" in real:
        return INSTALLED
    if real.startswith(standard):
        return STANDARD
    return PROJECT


def origin_of_module(name: str, file: str | None = None) -> str:
    """Whose module it is, by its name and, if the caller knows it, its file."""
    top = name.partition(".")[0]
    if top == _US:
        return OURS
    if name in _MADE_HERE:
        return PROJECT
    if file is None:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if file is None and module is not None:
            for path in getattr(module, "__path__", None) or ():
                file = os.path.join(str(path), "__init__.py")
                break
    if file is not None:
        return origin_of_path(file)
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return STANDARD
    return PROJECT


@lru_cache(maxsize=1024)
def public_name(module: str) -> str:
    """A standard module without the private parts of its name: ``_io``, ``pathlib._local``."""
    first, *rest = module.split(".")
    return ".".join([first.lstrip("_") or first, *(part for part in rest if part[:1] != "_")])


_HEAP_TYPE = 1 << 9


@lru_cache(maxsize=4096)
def _origin_of_class(cls: type) -> str:
    """Whose a class is; one that is not where it says it is was made at run time.

    ``dataclasses.make_dataclass`` puts its classes into the module ``types``, for one.
    """
    module = getattr(cls, "__module__", None)
    if not isinstance(module, str):
        return STANDARD
    origin = origin_of_module(module)
    if origin in (STANDARD, INSTALLED) and cls.__flags__ & _HEAP_TYPE:
        found: Any = sys.modules.get(module)
        for name in cls.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is not cls and _written_in_python(cls):
            return PROJECT
    return origin


def _written_in_python(cls: type) -> bool:
    return "__dict__" in vars(cls) or "__slots__" in vars(cls)


def origin_of(obj: Any) -> str:
    """Whose a class, builtin function or module is."""
    if isinstance(obj, ModuleType):
        return origin_of_module(obj.__name__)
    if isinstance(obj, type):
        return _origin_of_class(obj)
    name = getattr(obj, "__module__", None)
    if not isinstance(name, str):
        owner = getattr(obj, "__objclass__", None)
        name = getattr(owner, "__module__", None)
    return origin_of_module(name) if isinstance(name, str) else STANDARD


@lru_cache(maxsize=1024)
def distribution_of(module: str) -> tuple[str, str, str]:
    """Name, version and RECORD digest (hex) of the distribution that a module was installed by.

    The digest leaves out what differs between two installations of the same files: scripts (they
    name the interpreter), compiled bytecode, metadata, and extension modules, which are built for
    one interpreter each and are covered by the version.

    Returns:
        For a module that no distribution claims, its top-level name with empty version and digest.
        For one that several may have installed (``google``), names and versions of them all.
    """
    found = _distributions(module)
    if not found:
        return module.partition(".")[0], "", ""
    names, versions, digests = zip(*[_facts(one) for one in found], strict=True)
    if len(found) == 1:
        return names[0], versions[0], digests[0]
    return "/".join(names), "/".join(versions), "/".join(digests)


def _facts(found: metadata.Distribution) -> tuple[str, str, str]:
    record = found.read_text("RECORD") or ""
    lines = sorted(line for line in record.splitlines() if _counts(line))
    digest = digest_of("\n".join(lines).encode()).hex() if lines else ""
    return found.metadata["Name"] or "", found.version or "", digest


def _counts(line: str) -> bool:
    path, _, rest = line.partition(",")
    return (
        rest.strip(",") != ""
        and ".dist-info/" not in path
        and not path.startswith("..")
        and not path.endswith((".pyc", ".so", ".pyd", ".dylib", ".dll"))
    )


def _distributions(module: str) -> list[metadata.Distribution]:
    """The distribution that provides a module; nearly always the one of its top-level name.

    Several share a namespace such as ``google``: then those that have the module itself.
    """
    from importlib import metadata  # at the first installed module: it takes ten milliseconds

    top, *rest = module.split(".")
    try:
        found = metadata.distribution(top)
        if _provides(found, top):
            return [found]
    except (metadata.PackageNotFoundError, ValueError):
        pass
    all_ = [metadata.distribution(name) for name in _packages().get(top, ())]
    for depth in range(len(rest) if len(all_) > 1 else 0, 0, -1):
        holding = [one for one in all_ if _has(one, "/".join([top, *rest[:depth]]))]
        if holding:
            return holding
    return all_


def _provides(found: metadata.Distribution, top: str) -> bool:
    text = found.read_text("top_level.txt") or ""
    if top in text.split():
        return True
    return _has(found, top)


def _has(found: metadata.Distribution, place: str) -> bool:
    """Whether a package or module is among the files of a distribution."""
    record = found.read_text("RECORD") or ""
    return any(line.startswith((f"{place}/", f"{place}.")) for line in record.splitlines())


@lru_cache(maxsize=1)
def _packages() -> dict[str, list[str]]:
    """All top-level modules; reads every RECORD there is, hence once and only when needed."""
    from importlib import metadata

    if sys.version_info >= (3, 11):
        known = metadata.packages_distributions()
        return {top: sorted(set(names)) for top, names in known.items()}
    found: dict[str, set[str]] = {}  # Python 3.10 reads top_level.txt, which few wheels have now
    for one in metadata.distributions():
        tops = set((one.read_text("top_level.txt") or "").split())
        if not tops:
            paths = [line.partition(",")[0] for line in (one.read_text("RECORD") or "").split("\n")]
            tops = {
                path.partition("/")[0].removesuffix(".py") for path in paths if path[-3:] == ".py"
            }
        for top in tops:
            found.setdefault(top, set()).add(one.metadata["Name"] or "")
    return {top: sorted(names - {""}) for top, names in found.items()}
