"""The same on processes of this machine: values, failures, files, several executors.

Prints:
    [0, 1, 4]
    True True
    ValueError no 3 True
    threads True
"""

import os
import traceback

import parsl
from parsl import HighThroughputExecutor, ThreadPoolExecutor, python_app
from parsl.config import Config
from parsl.providers import LocalProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="processes",
            address="127.0.0.1",
            max_workers_per_node=2,
            cores_per_worker=0.1,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        ),
        ThreadPoolExecutor(label="threads", max_threads=1),
    ],
    strategy="none",
)


@python_app(executors=["processes"])
def square(x):
    return x * x


@python_app(executors=["processes"])
def where():
    import os

    return os.getpid()


@python_app(executors=["processes"])
def fail(x):
    raise ValueError(f"no {x}")


@python_app(executors=["threads"])
def here():
    import os

    return os.getpid()


if __name__ == "__main__":
    with parsl.load(config) as dfk:
        print([square(i).result() for i in range(3)])
        print(where().result() != os.getpid(), here().result() == os.getpid())
        error = fail(3).exception()
        shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        print(type(error).__name__, error, 'raise ValueError(f"no {x}")' in shown)
        print("threads", "threads" in dfk.executors)
