"""A pipeline of commands over files: which words are the most frequent in some texts?

    python examples/words.py [--directory WORK] FILE...

One command a file takes its words out, one counts them, and one adds the counts up; files flow from
each to the next.  What has been computed in the same directory is not computed again: run it twice,
edit a file, run it once more.

::

    FILE ─ words ─► words/N ─ tally ─► tallies/N ─┐
    FILE ─ words ─► words/N ─ tally ─► tallies/N ─┴─ add_up ─► top
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import parsl_ckpt as pc


@pc.bash_app(cache=True)
def words(inputs=(), outputs=()):
    text, out = (shlex.quote(str(file)) for file in (inputs[0], outputs[0]))
    return f"""
        # One word a line, in lower case; a text without any is no failure.
        grep -oE '[[:alpha:]]+' < {text} | tr '[:upper:]' '[:lower:]' > {out}
    """


@pc.bash_app(cache=True)
def tally(inputs=(), outputs=()):
    listed, out = (shlex.quote(str(file)) for file in (inputs[0], outputs[0]))
    return f"LC_ALL=C sort < {listed} | uniq -c > {out}"


@pc.bash_app(cache=True)
def add_up(how_many, inputs=(), outputs=()):
    tallies = " ".join(shlex.quote(str(file)) for file in inputs)
    return f"""
        set -o pipefail
        cat {tallies} \\
            | awk '{{ n[$2] += $1 }} END {{ for (word in n) print n[word], word }}' \\
            | LC_ALL=C sort -k1,1nr -k2,2 \\
            | sed {how_many}q > {shlex.quote(str(outputs[0]))}
    """


def pipeline(texts: Sequence[Path], directory: Path, how_many: int = 5):
    """Call the commands; the futures of all of them, the last one's last."""
    for part in ("words", "tallies"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    calls, tallies = [], []
    for number, text in enumerate(texts):
        listed = words(inputs=[pc.File(text)], outputs=[pc.File(directory / "words" / str(number))])
        counted = tally(
            inputs=[listed.outputs[0]],
            outputs=[pc.File(directory / "tallies" / str(number))],
        )
        calls += [listed, counted]
        tallies.append(counted.outputs[0])
    calls.append(add_up(how_many, inputs=tallies, outputs=[pc.File(directory / "top")]))
    return calls


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("texts", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--directory", type=Path, default=Path("words-of-texts"))
    given = parser.parse_args(arguments)
    run_dir = given.directory / "runinfo"
    with pc.load(pc.Config(run_dir=run_dir, checkpoint_mode="task_exit")):
        calls = pipeline([text.resolve() for text in given.texts], given.directory)
        top = calls[-1].outputs[0].result()
        print(Path(top).read_text(encoding="utf-8"), end="")
        ran = sum(not call.from_memo for call in calls)
    print(f"{ran} of {len(calls)} commands had to run.")


if __name__ == "__main__":
    main()
