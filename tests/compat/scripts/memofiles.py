"""Cached commands, files whose identity the script says itself, names of logs.

Prints:
    ['ran'] 'ONE'
    ['ran'] 'ONE' memo_done
    ['ran', 'ran'] 'TWO'
    BashExitFailure 3 tries
    runs/say-out True
    InvalidResourceSpecification
"""

import hashlib
import os

import parsl
from parsl import File, bash_app, python_app
from parsl.config import Config
from parsl.dataflow.memoization import BasicMemoizer, id_for_memo
from parsl.executors.errors import InvalidResourceSpecification


@id_for_memo.register(File)
def file_id(file, output_ref=False):
    if output_ref:
        return id_for_memo(file.url)
    with open(file.filepath, "rb") as content:
        return hashlib.sha256(content.read()).digest()


@bash_app(cache=True)
def upper(inputs=(), outputs=()):
    return f"echo ran >> ran.txt; tr a-z A-Z < {inputs[0]} > {outputs[0]}"


@bash_app
def failing(outputs=()):
    return "echo try >> tries.txt; exit 3"


@bash_app
def say(text, stdout=parsl.AUTO_LOGNAME):
    return f"echo {text}"


@python_app
def plain(parsl_resource_specification=None):
    return 1


def read(path):
    with open(path) as file:
        return file.read().split()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def autopath(task, stream):
    return os.path.join("runs", f"{task['func_name']}-{stream[3:]}")


config = Config(memoizer=BasicMemoizer(), retries=2, std_autopath=autopath)
with parsl.load(config):
    for text in "one", "one", "two":
        write("in.txt", text)
        future = upper(inputs=[File("in.txt")], outputs=[File("out.txt")])
        future.result()
        status = future.task_status()
        print(read("ran.txt"), repr(read("out.txt")[0]), *[status][: status == "memo_done"])
    error = failing().exception()
    print(type(error).__name__, len(read("tries.txt")), "tries")
    said = say("x")
    said.result()
    print(said.stdout, os.path.exists(said.stdout))
    try:
        plain(parsl_resource_specification={"cores": 2}).result()
    except InvalidResourceSpecification as refused:
        print(type(refused).__name__)
