"""Where a run comes from: what was started, from which code, by whom, on which machine.

Rule of this file: facts only, and none that could be a secret.  Environment variables are never
read out; a fact that cannot be had (no git, no home directory, a stripped interpreter) is ``None``
and never an error, because a run must not fail for want of a description of itself.

Nothing here touches the kernel, so it may run in a background thread while the first tasks are
already under way.  The dear part is git: one process, with a time limit, and only when a ``.git``
stands above the program.  What only this file needs of the standard library is imported where it is
used, so that it does not delay the start of a program.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: How long git may take, in seconds; a repository on a slow file system goes without.
GIT_SECONDS = 3.0

_DISTRIBUTION = "parsl_ckpt"


def collect(directory: str | os.PathLike[str] | None = None) -> dict[str, object]:
    """Describe this process for the record of its run.

    Args:
        directory: whose git state to note; by default where the main script is, and the working
            directory when there is none (a notebook, an interactive session).

    Returns:
        A dictionary of plain values: ``command`` (list of the arguments), ``script``, ``cwd``,
        ``git`` (``commit``, ``branch``, ``clean``, or None outside a repository), ``host``,
        ``user``, ``python``, ``executable``, ``packages`` (versions of parsl_ckpt and of what it
        depends on), ``platform``, ``cpus``, ``pid`` and ``started`` (UTC, ISO 8601).

    >>> collect()["pid"] == os.getpid()
    True
    """
    import platform

    began = time.time()
    script = main_script()
    if directory is None:
        directory = script.parent if script else _cwd()
    return {
        "command": _command(),
        "script": str(script) if script else None,
        "cwd": _cwd(),
        "git": git_state(directory) if directory is not None else None,
        "host": _quiet(platform.node),
        "user": _user(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "executable": sys.executable or None,
        "packages": package_versions(),
        "platform": _quiet(_system),
        "cpus": os.cpu_count(),
        "pid": os.getpid(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
    }


def main_script() -> Path | None:
    """The file that was started, absolute; None in an interactive session or a notebook."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not path:
        return None
    try:
        return Path(path).absolute()
    except OSError:  # the working directory is gone
        return None


def git_state(
    directory: str | os.PathLike[str], seconds: float = GIT_SECONDS
) -> dict[str, Any] | None:
    """Commit, branch and cleanliness of the repository around a directory.

    Untracked files do not make a tree unclean: run directories and outputs are usually among them.

    Args:
        directory: any directory inside the working tree.
        seconds: time limit for git.

    Returns:
        ``{"commit": str | None, "branch": str | None, "clean": bool}``, where a repository without
        a first commit has commit None; None when there is no repository, no git, or no answer.
    """
    if not _inside_repository(Path(directory)):
        return None
    import shutil
    import subprocess

    git = shutil.which("git")
    if git is None:
        return None
    command = [
        git,
        # A run must neither wait for, nor be told what to execute by, the repository it is in.
        *("-c", "core.fsmonitor=false"),
        *("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules"),
    ]
    try:
        answer = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_git_status(answer.stdout.decode("utf-8", "replace"))


def parse_git_status(text: str) -> dict[str, Any]:
    """Read ``git status --porcelain=v2 --branch``.

    >>> parse_git_status("# branch.oid 1f2e\\n# branch.head main\\n1 .M N... a.py\\n")
    {'commit': '1f2e', 'branch': 'main', 'clean': False}
    """
    headers = {}
    clean = True
    for line in text.splitlines():
        if line.startswith("# branch."):
            name, _, value = line[len("# branch.") :].partition(" ")
            headers[name] = None if value in ("(initial)", "(detached)") else value
        elif line and not line.startswith("#"):
            clean = False
    return {"commit": headers.get("oid"), "branch": headers.get("head"), "clean": clean}


def package_versions() -> dict[str, str | None]:
    """Versions of parsl_ckpt and of each distribution it requires (extras left out).

    Returns:
        Name to version, parsl_ckpt first; None for what runs from a source tree uninstalled.
    """
    import re
    from importlib import metadata

    versions = {_DISTRIBUTION: _version(_DISTRIBUTION)}
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except (metadata.PackageNotFoundError, OSError):  # too many open files, for one
        required = []
    for requirement in required:
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]
        versions[name] = _version(name)
    return versions


def _version(distribution: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, OSError):
        return None


def _inside_repository(directory: Path) -> bool:
    # Looking costs microseconds and spares a process to everyone who does not use git.
    try:
        directory = directory.absolute()
        return any((place / ".git").exists() for place in (directory, *directory.parents))
    except OSError:
        return False


def _command() -> list[str]:
    return [str(part) for part in getattr(sys, "orig_argv", None) or sys.argv]


def _cwd() -> str | None:
    return _quiet(os.getcwd)


def _user() -> str | None:
    # Not getpass.getuser(), which believes environment variables.
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, AttributeError, OSError):
        return None


def _system() -> str:
    # Not platform.platform(): it starts a process and holds a lock meanwhile, which a process that
    # is forked at that moment would wait for without end.
    system = os.uname()
    return f"{system.sysname}-{system.release}-{system.machine}"


def _quiet(fact: Callable[[], str]) -> str | None:
    try:
        return fact()
    except Exception:
        return None
