"""A process that has imported the library and forks one script after another from itself.

Each script runs as ``__main__`` at the top level of a process of its own: it ends as a script ends,
dies as a script dies, and costs a fork in place of the start of an interpreter.

Protocol, one JSON value a line: ``["run", {script, argv, cwd, out, err, env}]`` answers the process
id; ``["wait", pid]`` answers its exit status, negative for a signal.
"""

import json as _json
import os as _os
import sys as _sys

import parsl_ckpt.dataflow
import parsl_ckpt.executors.processes
import parsl_ckpt.executors.threads
import parsl_ckpt.kernel.provenance  # noqa: F401

_job = None
for _line in _sys.stdin.buffer:
    _verb, _job = _json.loads(_line)
    if _verb == "wait":
        _answer = _os.waitstatus_to_exitcode(_os.waitpid(_job, 0)[1])
    else:
        _flags = _os.O_WRONLY | _os.O_CREAT | _os.O_APPEND
        _files = [_os.open(_os.devnull, _os.O_RDONLY)]
        _files += [_os.open(_job[_name], _flags, 0o600) for _name in ("out", "err")]
        _answer = _os.fork()
        if _answer == 0:
            break
        for _file in _files:
            _os.close(_file)
    _os.write(1, b"%d\n" % _answer)
    _job = None

if _job is not None:
    for _number, _file in enumerate(_files):
        _os.dup2(_file, _number)
        _os.close(_file)
    _os.chdir(_job["cwd"])
    _os.environ.update(_job["env"])
    _sys.argv = [_job["script"], *_job["argv"]]
    _sys.path.insert(0, _os.path.dirname(_job["script"]))
    __file__ = _job["script"]
    __doc__ = None
    exec(compile(open(__file__).read(), __file__, "exec"))  # noqa: SIM115
