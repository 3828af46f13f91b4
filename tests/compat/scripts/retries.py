"""Retries, and what a failure costs.

Prints:
    succeeded after 3
    ValueError 2
    [0.0, 0.5, 1.0] [(0, 1), (1, 2), (2, 3)]
    TypeError the handler's
"""

import parsl
from parsl import python_app
from parsl.config import Config

tries = []


@python_app
def flaky(n):
    tries.append(n)
    if len(tries) < n:
        raise ValueError(f"try {len(tries)}")
    return len(tries)


with parsl.load(Config(retries=2)):
    print("succeeded after", flaky(3).result())
    tries.clear()
    future = flaky(99)
    print(type(future.exception()).__name__, future.task_record["try_id"])

costs, ids = [], []


def handler(error, task):
    costs.append(task["fail_cost"])
    ids.append((task["try_id"], task["fail_count"]))
    return 0.5


tries.clear()
with parsl.load(Config(retries=1, retry_handler=handler, run_dir="handled")):
    flaky(99).exception()
    print([float(cost) for cost in costs], ids)


def broken(error, task):
    raise TypeError("the handler's")


with parsl.load(Config(retries=5, retry_handler=broken)):
    error = flaky(99).exception()
    print(type(error).__name__, error)
