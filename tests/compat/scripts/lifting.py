"""Parts of futures, futures with the standard library, records of tasks.

Prints:
    2 b 3
    [1, 2, 3]
    point ('id', 'int') True
    {'y': 5} (1,)
"""

from concurrent.futures import as_completed, wait
from types import SimpleNamespace

import parsl
from parsl import python_app


@python_app
def make():
    return SimpleNamespace(pair=[1, 2], table={"a": "b"})


@python_app
def point(x, y=0):
    return x


with parsl.load():
    made = make()
    print(made.pair[1].result(), made.table["a"].result(), len(make().pair.result()) + 1)
    futures = [point(i) for i in (1, 2, 3)]
    assert not wait(futures).not_done
    print(sorted(future.result() for future in as_completed(futures)))
    future = point(1, y=5)
    future.result()
    record = future.task_record
    print(record["func_name"], ("id", type(record["id"]).__name__), record["app_fu"] is future)
    print(record["kwargs"], tuple(record["args"]))
