"""An executor of concurrent.futures, a configuration that is changed before it is loaded.

Prints:
    pool [1, 4, 9] 25
    met [0, 1, 2]
    apps square False all
    tree 39800
    loop 210
    path logs/say-hi.stdout hi
"""

import os
import threading
from concurrent.futures import as_completed

import parsl
from parsl import bash_app, join_app, python_app
from parsl.concurrent import ParslPoolExecutor
from parsl.config import Config
from parsl.configs.local_threads import config
from parsl.executors import ThreadPoolExecutor


def square(x):
    return x * x


with ParslPoolExecutor(Config(executors=[ThreadPoolExecutor()])) as pool:
    print("pool", list(pool.map(square, [1, 2, 3])), pool.submit(square, 5).result())


def autopath(task_record, kind):
    return os.path.join("logs", f"{task_record['func_name']}-{task_record['args'][0]}.{kind}")


config.executors[0].max_threads = 3
config.std_autopath = autopath
config.run_dir = "my/runs"
parsl.load(config)

barrier = threading.Barrier(3, timeout=30)


@python_app
def meet():
    return barrier.wait()


print("met", sorted(call.result() for call in [meet() for _ in range(3)]))

app = python_app(square)
print("apps", app.func.__name__, app.cache, app.executors)


@python_app
def add(*numbers):
    return sum(numbers)


calls = [add(i, i) for i in range(200)]
assert len(list(as_completed(calls))) == 200
while len(calls) > 1:
    calls = [add(*calls[i : i + 5]) for i in range(0, len(calls), 5)]
print("tree", calls[0].result())


@join_app
def loop(n, so_far=0):
    return add(so_far) if n == 0 else loop(n - 1, add(so_far, n))


print("loop", loop(20).result())


@bash_app
def say(what, stdout=parsl.AUTO_LOGNAME):
    return f"echo {what}"


os.makedirs("logs")
said = say("hi")
said.result()
with open(said.stdout) as log:
    print("path", said.stdout, log.read().strip())
parsl.dfk().cleanup()
