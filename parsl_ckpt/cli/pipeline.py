"""Run a pipeline that a file describes, resume it, look at its runs.

  run       run it, or with --resume what is left of a run
  dry-run   import the classes, check everything, and show what would run
  status    show how far its runs have come
  validate  tell all that is wrong with the file, each with its place

Progress is kept beside the results in the run directory that the file names (runinfo), or with
--checkpoints as JSON files. The exit status is 0 for a success, 1 for a failure, and 2 if some
components have succeeded and others have not.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.pipeline.config import PipelineConfig
    from parsl_ckpt.pipeline.result import PipelineResult
    from parsl_ckpt.pipeline.states import CheckpointState

SUCCESS, FAILURE, PARTIAL = 0, 1, 2
LATEST = ""  # --resume without an id


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    run = verbs.add_parser("run", help="run it, or what is left of a run")
    for verb in (run, verbs.add_parser("dry-run", help="check everything, show what would run")):
        _file(verb)
    run.add_argument("--run-id", metavar="ID", help="what the run is called (default: a new id)")
    run.add_argument(
        "--resume", action="store_true",
        help="go on with the run --run-id, or else with the last one that has not succeeded",
    )  # fmt: skip
    run.add_argument(
        "--lineage",
        action="store_true",
        help="run exactly what is not recorded with this code, these settings and this upstream",
    )
    run.add_argument(
        "--no-fail-fast", action="store_true",
        help="after a failure, run what does not depend on it",
    )  # fmt: skip
    run.add_argument(
        "--on-store-error", choices=("warn", "fail"), default="warn",
        help="what follows if progress cannot be recorded (default: warn)",
    )  # fmt: skip
    run.add_argument("-q", "--quiet", action="store_true", help="log nothing but problems")
    status = verbs.add_parser("status", help="show how far its runs have come")
    _file(status)
    status.add_argument("--run-id", metavar="ID", help="show the components of this run")
    for verb in (run, status):
        verb.add_argument(
            "--checkpoints", metavar="DIR", help="keep progress as JSON files in this directory"
        )
        _common.as_json(verb)
    _file(verbs.add_parser("validate", help="tell all that is wrong with the file"))


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a YAML, TOML or JSON file")


def run(options: argparse.Namespace) -> int:
    verb = {"run": _run, "dry-run": _dry_run, "status": _status, "validate": _validate}
    # As for a script: what lies beside the file, or here, can be imported.
    for place in (os.getcwd(), os.path.dirname(os.path.abspath(options.file))):
        if place not in sys.path:
            sys.path.insert(0, place)
    try:
        return verb[options.verb](options)
    except BrokenPipeError:  # who reads the output has had enough
        raise
    except OSError as error:
        told = str(error)
        if error.filename == options.file:
            told = f"{options.file} cannot be read: {error.strerror}. Give the path of a pipeline."
        print(f"parsl-ckpt: {told}", file=sys.stderr)
        return FAILURE


# --- run ------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from parsl_ckpt.errors import ConfigurationError
    from parsl_ckpt.pipeline import (
        CheckpointHooks,
        CompositeHooks,
        LocalCheckpointStore,
        LoggingHooks,
        SimplePipelineRunner,
    )
    from parsl_ckpt.pipeline.loading import load_config

    if options.resume and options.lineage:
        raise ConfigurationError("--resume and --lineage are two ways to go on; give one of them.")
    config = load_config(options.file)
    run_id = options.run_id  # an empty one, of a variable that is not set, is refused further on
    if run_id is None:
        run_id = _unfinished(options, config) if options.resume else _new_id()
    hooks: list[Any] = [LoggingHooks(_logger(options.quiet))]
    named: dict[str, Any] = {"run_id": run_id, "on_store_error": options.on_store_error}
    if options.checkpoints is not None:
        store = LocalCheckpointStore(options.checkpoints)
        hooks.insert(0, CheckpointHooks(store, run_id, on_store_error=options.on_store_error))
        named = {}
    if options.resume or options.lineage:
        named["resume"] = "lineage" if options.lineage else run_id
    runner = SimplePipelineRunner(
        config, hooks=CompositeHooks(*hooks), fail_fast=not options.no_fail_fast
    )
    result = runner.run(**named)
    if options.json:
        _common.show_json(_plain(result))
    else:
        _common.show(_results(result), _advice(options, result))
    return {"success": SUCCESS, "partial_success": PARTIAL}.get(result.status.value, FAILURE)


def _new_id() -> str:
    import time
    import uuid

    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


def _unfinished(options: argparse.Namespace, config: PipelineConfig) -> str:
    """The last run that has not succeeded."""
    from parsl_ckpt.errors import NoCheckpointError

    for state in reversed(_states(options, config)):
        if state.status != "completed":
            return state.run_id
    raise NoCheckpointError(
        f"No checkpoint found of a run of pipeline {config.name!r} that has not succeeded.",
        hint="Run it without --resume.",
        pipeline_name=config.name,
    )


def _logger(quiet: bool) -> logging.Logger:
    handler = logging.StreamHandler()  # standard error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.Logger("pipeline", logging.WARNING if quiet else logging.INFO)
    logger.addHandler(handler)  # one of its own: what the program logs otherwise is its affair
    return logger


def _results(result: PipelineResult) -> object:
    table = _common.table("component", "status", ">attempts", ">took", "remark")
    for one in result.component_results:
        remark = one.reason and f"because {one.reason}"
        if one.error is not None:
            remark = one.told
        elif one.restored_from:
            remark = f"of run {one.restored_from}"
        table.add_row(
            one.component_name, one.status.value, str(one.attempts or ""),
            _common.span(one.duration_ms / 1000) if one.attempts else "-", remark,
        )  # fmt: skip
    return table


def _advice(options: argparse.Namespace, result: PipelineResult) -> str:
    told = f"Run {result.run_id} of {result.pipeline_name}: {result.status.value}."
    if result.status.value == "success":
        return told
    again = ["parsl-ckpt", "pipeline", "run", options.file, f"--run-id={result.run_id}", "--resume"]
    if options.checkpoints is not None:
        again.append(f"--checkpoints={options.checkpoints}")
    return f"{told} To go on with it:\n  {shlex.join(again)}"


def _plain(result: PipelineResult) -> dict[str, object]:
    return {
        "run_id": result.run_id, "pipeline": result.pipeline_name, "status": result.status.value,
        "duration_ms": result.total_duration_ms,
        "components": [
            {
                "name": one.component_name, "status": one.status.value, "attempts": one.attempts,
                "duration_ms": one.duration_ms, "reason": one.reason,
                "restored_from": one.restored_from,
                "error": one.told or None,
            }
            for one in result.component_results
        ],
    }  # fmt: skip


# --- the others -----------------------------------------------------------------------------------


def _validate(options: argparse.Namespace) -> int:
    from parsl_ckpt.pipeline import SimplePipelineRunner

    runner = SimplePipelineRunner.from_file(options.file)
    problems = runner.dry_run()
    if problems:
        for problem in problems:
            print(f"{options.file}: {problem}", file=sys.stderr)
        return FAILURE
    config = runner.config
    number = _common.plural(len(config.components), "component")
    _common.show(f"{options.file}: pipeline {config.name}, version {config.version}, {number}.")
    return SUCCESS


def _dry_run(options: argparse.Namespace) -> int:
    from parsl_ckpt.pipeline.loading import load_config

    status = _validate(options)
    if status != SUCCESS:
        return status
    table = _common.table("component", "type", "class", "after", "retries", "executors")
    for one in load_config(options.file).execution_order:
        retry = one.policy.retry
        table.add_row(
            one.name, str(one.component_type), one.class_path,
            ", ".join(one.depends_on) if one.enabled else "disabled",
            str(retry.max_attempts - 1) if retry else "",
            ", ".join([one.executors] if isinstance(one.executors, str) else one.executors or ()),
        )  # fmt: skip
    _common.show(table, "Nothing was run.")
    return SUCCESS


def _status(options: argparse.Namespace) -> int:
    from parsl_ckpt.pipeline.loading import load_config

    config = load_config(options.file, classes=False)
    if options.run_id is None:
        states = _states(options, config)
    else:
        state = _store(options, config).load(options.run_id, config.name)
        states = [] if state is None else [state]
    if options.json:
        from parsl_ckpt.pipeline.states import to_mapping

        _common.show_json([to_mapping(state) for state in states])
    elif not states:
        named = f"run {options.run_id}" if options.run_id is not None else "runs"
        _common.show(f"There is no record of {named} of pipeline {config.name}.")
    elif options.run_id is not None:
        _common.show(_components(states[0], config))
    else:
        table = _common.table("run", "status", ">done", "failed", ">age")
        for state in states:
            done = f"{len(state.completed_components)} of {len(config.components)}"
            failed, age = state.failed_component or "", _age(state.updated_at)
            table.add_row(state.run_id, state.status, done, failed, age)
        _common.show(table)
    if options.run_id is None:
        return SUCCESS
    if not states:
        return FAILURE
    if states[0].status == "completed":
        return SUCCESS
    return PARTIAL if states[0].completed_components else FAILURE


def _age(moment: str) -> str:
    """How long ago a state was recorded."""
    from datetime import datetime

    try:
        return _common.ago(datetime.fromisoformat(moment).timestamp())
    except (ValueError, OverflowError, OSError):  # whatever else wrote it
        return moment


def _components(state: CheckpointState, config: PipelineConfig) -> object:
    table = _common.table("component", "status")
    for one in config.execution_order:
        status = "not yet"
        if one.name in state.completed_components:
            status = "success"
        elif not one.enabled:
            status = "disabled"
        elif one.name == state.failed_component:
            status = "failed"
        table.add_row(one.name, status)
    return table


def _states(options: argparse.Namespace, config: PipelineConfig) -> list[CheckpointState]:
    states = _store(options, config).states()
    return [state for state in states if state.pipeline_name == config.name]


def _store(options: argparse.Namespace, config: PipelineConfig) -> Any:
    from parsl_ckpt.pipeline import LocalCheckpointStore, RunStore

    if options.checkpoints is not None:
        return LocalCheckpointStore(options.checkpoints)
    return RunStore.at(config.run_dir)
