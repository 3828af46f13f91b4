"""Time limits.

Prints:
    AppTimeout
    AppTimeout
    done in time
"""

import time

import parsl
from parsl import bash_app, python_app
from parsl.app.errors import AppTimeout


@python_app
def slow(walltime=0.2):
    for _ in range(1000):
        time.sleep(0.01)
    return "too late"


@bash_app
def sleepy(walltime=0.3):
    return "sleep 30"


@python_app
def quick(walltime=60):
    return "done in time"


with parsl.load():
    for app in slow, sleepy:
        try:
            print(app().result())
        except AppTimeout:
            print("AppTimeout")
    print(quick().result())
