"""Which of Parsl's names there are, where they stand, and what those say that are not here."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import parsl_ckpt.compat.parsl as parsl
from parsl_ckpt.compat.finder import ROOT, names_of
from parsl_ckpt.compat.table import MODULES
from parsl_ckpt.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[2]

#: Names that Parsl had, and which scripts still use.
FORMER = {("", "App"), ("app.app", "App")}


def program(text, python=sys.executable, **options):
    return subprocess.run(
        [python, "-c", text], capture_output=True, text=True, timeout=60, check=False,
        cwd=REPOSITORY, **options,
    )  # fmt: skip


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_name_of_the_table_can_be_imported(module):
    imported = importlib.import_module(f"{ROOT}.{module}".rstrip("."))
    for name in names_of(module):
        assert getattr(imported, name) is not None


def test_modules_are_reached_as_attributes_too():
    assert parsl.config.Config is parsl.Config
    assert parsl.executors.threads.ThreadPoolExecutor is parsl.ThreadPoolExecutor
    assert parsl.dataflow.dflow.DataFlowKernelLoader.dfk == parsl.dfk
    assert {"python_app", "Config", "load"} <= set(dir(parsl))


def test_a_star_gives_what_parsls_gives():
    names = {}
    exec("from parsl_ckpt.compat.parsl import *", names)
    assert {"python_app", "bash_app", "join_app", "Config", "File", "AUTO_LOGNAME"} <= names.keys()


@pytest.mark.parametrize("text", ["import {0}.jobs", "from {0}.config import Nonsense"])
def test_a_module_or_a_name_that_is_not_there_is_an_import_error(text):
    with pytest.raises(ImportError):
        exec(text.format(ROOT))


def test_a_missing_attribute_names_the_page_that_says_what_there_is():
    with pytest.raises(AttributeError, match="migrating-from-parsl"):
        parsl.config.Nonsense  # noqa: B018


@pytest.mark.parametrize(
    "make",
    [
        lambda: parsl.WorkQueueExecutor(label="wq"),
        lambda: parsl.providers.SlurmProvider("debug"),
        lambda: parsl.launchers.SrunLauncher(),
        lambda: parsl.MonitoringHub(),
    ],
)
def test_what_is_for_other_machines_can_be_imported_and_says_so_when_it_is_made(make):
    with pytest.raises(ConfigurationError, match="other machines") as caught:
        make()
    assert "LocalProvider" in caught.value.hint


def test_a_script_may_have_the_name_parsl_itself():
    done = program(
        "import parsl_ckpt.compat.as_parsl\n"
        "import parsl, parsl.config\n"
        "from parsl.executors.threads import ThreadPoolExecutor\n"
        "from parsl.dataflow.states import States\n"
        "import parsl_ckpt.compat.parsl as ours, parsl_ckpt.compat.parsl.config\n"
        "assert parsl is ours and parsl.config is ours.config\n"
        "print(parsl.config.Config.__module__, States.exec_done)\n"
    )
    assert done.stdout == "parsl_ckpt.compat.config States.exec_done\n", done.stderr


def test_the_name_is_not_taken_from_parsl_once_that_is_imported():
    done = program(
        "import sys, types; sys.modules['parsl'] = types.ModuleType('parsl')\n"
        "import parsl_ckpt.compat.as_parsl\n"
    )
    assert "ConfigurationError: Parsl itself has been imported already." in done.stderr


def test_modules_of_apps_that_import_parsl_are_imported_by_workers_too(tmp_path):
    (tmp_path / "apps_of_mine.py").write_text(
        "import parsl\n"
        "from parsl.data_provider.files import File\n"
        "@parsl.python_app\n"
        "def double(x):\n"
        "    return 2 * x\n"
    )
    done = program(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import parsl_ckpt.compat.as_parsl\n"
        "import parsl, apps_of_mine\n"
        "from parsl.executors import HighThroughputExecutor\n"
        "executors = [HighThroughputExecutor(max_workers_per_node=1)]\n"
        f"with parsl.load(parsl.Config(executors, run_dir={str(tmp_path / 'runs')!r})):\n"
        "    print(apps_of_mine.double(4).result())\n"
    )
    assert done.stdout == "8\n", done.stderr


def test_importing_the_library_does_not_import_this():
    done = program(
        "import parsl_ckpt, sys; parsl_ckpt.python_app; parsl_ckpt.load\n"
        "print([name for name in sys.modules if name.startswith('parsl_ckpt.compat')])"
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_every_name_is_one_of_parsls(parsl_python):
    lines = [f"{module}:{name}" for module in MODULES for name in names_of(module)]
    known = [line for line in lines if tuple(line.split(":")) not in FORMER]
    done = program(
        "import importlib, sys\n"
        "for line in sys.stdin.read().split():\n"
        "    module, name = line.split(':')\n"
        "    found = importlib.import_module('parsl.' + module if module else 'parsl')\n"
        "    if not hasattr(found, name): print(line)\n",
        python=parsl_python,
        input="\n".join(known),
    )
    assert done.stdout == "" and done.returncode == 0, done.stdout + done.stderr
