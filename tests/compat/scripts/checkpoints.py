"""Two runs: the second one finds what the first one has computed.

Prints:
    run 1: [0, 1, 4] computed 3
    run 2: [0, 1, 4, 9] computed 1
    older: [0, 1] computed 0
"""

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.dataflow.memoization import BasicMemoizer
from parsl.utils import get_all_checkpoints, get_last_checkpoint

computed = []


@python_app(cache=True)
def square(x):
    computed.append(x)
    return x * x


def run(name, n, memoizer):
    computed.clear()
    with parsl.load(Config(memoizer=memoizer)):
        results = [square(i).result() for i in range(n)]
        memoizer.checkpoint()
    print(f"{name}: {results} computed {len(computed)}")


run("run 1", 3, BasicMemoizer(checkpoint_mode="task_exit"))
run("run 2", 4, BasicMemoizer(checkpoint_mode="dfk_exit", checkpoint_files=get_all_checkpoints()))
run("older", 2, BasicMemoizer(checkpoint_files=get_all_checkpoints("runinfo")[:1]))
assert get_last_checkpoint()
