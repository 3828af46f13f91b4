"""Ask why calls ran: a small study that is edited, twice, and says each time what it had to redo.

    python examples/why.py

Every step is the same program, ``study.py``, started anew; between the steps it is edited as one
would edit it in an editor.  What it prints are the words of ``future.why()``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

STUDY = """\
import parsl_ckpt as pc

DAMPING = 0.5


def smooth(values):
    return [DAMPING * value for value in values]


@pc.python_app(cache=True)
def train(config, seed=0):
    values = smooth(range(config["optim"]["steps"]))
    return {"loss": sum(values) * config["optim"]["lr"] + seed}


@pc.python_app(cache=True)
def report(model, title):
    return f"{title}: {model['loss']:.2f}"


CONFIG = {
    "optim": {"name": "stochastic gradient descent", "lr": 0.1, "steps": 20},
    "data": "/data/experiments/2026-01-31/measurements.csv",
}

if __name__ == "__main__":
    with pc.load(pc.Config(checkpoint_mode="task_exit")):
        model = train(CONFIG)
        answer = report(model, "study")
        answer.result()
        print(model.why())
        print(answer.why())
"""

STEPS = (
    ("The first run", None),
    ("A learning rate is changed", ('"lr": 0.1', '"lr": 0.2')),
    ("A helper is edited", ("DAMPING * value for", "DAMPING * value + 1 for")),
    ("A constant is changed", ("DAMPING = 0.5", "DAMPING = 0.75")),
    ("A comment is added", ("    return [", "    # all at once\n    return [")),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "study.py"
        text = STUDY
        for number, (title, edit) in enumerate(STEPS):
            if edit is not None:
                text = text.replace(*edit)
            program.write_text(text, encoding="utf-8")
            print(f"# {title}" if number == 0 else f"\n# {title}")
            print(run(program), end="")


def run(program: Path) -> str:
    """What a program prints, started in its own directory."""
    return subprocess.run(
        [sys.executable, program.name],
        cwd=program.parent, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True, check=True, encoding="utf-8",
    ).stdout  # fmt: skip


if __name__ == "__main__":
    main()
