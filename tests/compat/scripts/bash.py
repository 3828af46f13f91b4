"""Commands: their streams, their files, their status.

Prints:
    0
    'hello from bash'
    'to stderr'
    ['1', '2', '3', '6']
    BashExitFailure count 3
    AppBadFormatting
    refused
    True True
    'one\\ntwo'
"""

import os

import parsl
from parsl import File, bash_app
from parsl.app.errors import AppBadFormatting, BashExitFailure

parsl.load()


def read(path):
    with open(path) as file:
        return file.read()


@bash_app
def say(text, stdout=None, stderr=None):
    return f"echo {text}; echo to stderr >&2"


@bash_app
def numbers(inputs=(), outputs=()):
    return f"""
        for i in 1 2 3; do echo $i; done > {outputs[0]}
        awk '{{ s += $1 }} END {{ print s }}' {outputs[0]} >> {outputs[0]}
    """


@bash_app
def count(n):
    return f"exit {n}"


@bash_app
def badly():
    return "echo {}".format()  # noqa: F524  # this is what is tested


@bash_app
def nothing():
    return None


future = say("hello from bash", stdout="out.txt", stderr="err.txt")
print(future.result())
print(repr(read(future.stdout).strip()))
print(repr(read(future.stderr).splitlines()[-1]))
made = numbers(outputs=[File("numbers.txt")])
with open(made.outputs[0].result()) as file:
    print(file.read().split())
try:
    count(3).result()
except BashExitFailure as error:
    print("BashExitFailure", error.app_name, error.exitcode)
try:
    badly().result()
except AppBadFormatting as error:
    print(type(error).__name__)
try:
    nothing().result()
except Exception:
    print("refused")
auto = say("x", stdout=parsl.AUTO_LOGNAME)
auto.result()
print(os.path.exists(auto.stdout), "task_logs" in auto.stdout)
say("one", stdout="appended.txt").result()
say("two", stdout=("appended.txt", "a")).result()
print(repr(read("appended.txt").strip()))
parsl.dfk().cleanup()
