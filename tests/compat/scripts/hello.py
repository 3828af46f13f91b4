"""Apps, futures as arguments, a configuration.

Prints:
    Hello, World!
    [0, 1, 4, 9, 16]
    30
    exec_done True 7
"""

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor


@python_app
def hello(name="World"):
    return f"Hello, {name}!"


@python_app
def square(x):
    return x * x


@python_app
def total(inputs=()):
    return sum(inputs)


with parsl.load(Config(executors=[ThreadPoolExecutor(max_threads=4, label="local")])) as dfk:
    print(hello().result())
    futures = [square(i) for i in range(5)]
    print([future.result() for future in futures])
    last = total(inputs=futures)
    print(last.result())
    print(last.task_status(), last.done(), dfk.task_count)
