"""Map and reduce over files: the most frequent words of a directory, counted incrementally.

One task counts the words of each file; the counts are added up in a tree, sixteen at a time; a last
task ranks them.  A file counts by its content, so::

    $ python examples/mapreduce.py docs           # press Ctrl-C, or kill -9 it, half-way
    $ python examples/mapreduce.py docs           # only what was missing is computed
    $ echo hello >> docs/index.rst
    $ python examples/mapreduce.py docs           # that file, and the branch of the tree above it

A file that is touched, renamed or moved, and not changed, costs nothing: its count is known.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from concurrent.futures import as_completed
from pathlib import Path

import parsl_ckpt as pc

FAN_IN = 16  # counts that are added up by one task

# --- apps: what is computed -----------------------------------------------------------------------


@pc.python_app(cache=True)
def count(file: pc.File) -> dict[str, int]:
    """Map: how often each word is in a file."""
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    return dict(Counter(re.findall(r"[a-z]{3,}", text.lower())))


@pc.python_app(cache=True)
def add(counts: list[dict[str, int]]) -> dict[str, int]:
    """Reduce: some counts as one."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


@pc.python_app(cache=True)
def best(counts: dict[str, int], number: int) -> list[tuple[str, int]]:
    """The most frequent words."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number]


# --- the workflow: what depends on what -----------------------------------------------------------


def reduced(counts: list[pc.AppFuture[dict[str, int]]]) -> pc.AppFuture[dict[str, int]]:
    """Add counts up in a tree, so that one new count passes through a few tasks only."""
    while len(counts) > 1:
        groups = [counts[start : start + FAN_IN] for start in range(0, len(counts), FAN_IN)]
        counts = [add(group) for group in groups]
    return counts[0] if counts else add([])


# --- the program ----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Find the most frequent words of a directory.")
    parser.add_argument("root", nargs="?", type=Path, default=Path("docs"), help="the directory")
    parser.add_argument("--pattern", default="*.rst", help="which files in it")
    parser.add_argument("--run-dir", default="runinfo", help="where runs and checkpoints are kept")
    parser.add_argument("--workers", type=int, default=None, help="number of processes")
    parser.add_argument("--top", type=int, default=10, help="number of words")
    options = parser.parse_args(argv)

    config = pc.Config(
        executors=[pc.ProcessPoolExecutor(max_workers=options.workers)],
        checkpoint_mode="task_exit",  # each count is safe as soon as its task is done
        run_dir=options.run_dir,  # earlier checkpoints in it are found and used
    )
    with pc.load(config) as dfk:
        files = sorted(options.root.rglob(options.pattern))
        counted = [count(pc.File(str(file))) for file in files]
        ranking = best(reduced(counted), options.top)  # each begins when its inputs are known
        missing = [one for one in counted if not one.from_memo]
        for done, _ in enumerate(as_completed(missing), start=1):
            print(f"{done} of {len(missing)} files", flush=True)
        for word, number in ranking.result():
            print(f"{number:8,} {word}")
    counts = dfk.counts()
    print(f"{counts['exec_done']:,} tasks run, {counts['memo_done']:,} restored.")


if __name__ == "__main__":
    main()
