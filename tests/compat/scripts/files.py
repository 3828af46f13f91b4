"""Files go from one app to the next.

Prints:
    part-0.txt True
    3 lines, 3 files
    MissingOutputs ['absent.txt']
    DependencyError
"""

import os

import parsl
from parsl import python_app
from parsl.app.errors import MissingOutputs
from parsl.app.futures import DataFuture
from parsl.data_provider.files import File


@python_app
def write(i, outputs=()):
    with open(outputs[0].filepath, "w") as file:
        file.write(f"line {i}\n")


@python_app
def join(inputs=(), outputs=()):
    with open(outputs[0], "w") as out:
        for one in inputs:
            with open(one) as file:
                out.write(file.read())
    return len(inputs)


@parsl.bash_app
def forget(outputs=()):
    return "true"


with parsl.load():
    parts = [write(i, outputs=[File(f"part-{i}.txt")]) for i in range(3)]
    first = parts[0].outputs[0]
    print(os.path.basename(first.filepath), isinstance(first, DataFuture))
    whole = join(inputs=[part.outputs[0] for part in parts], outputs=[File("whole.txt")])
    files = whole.result()
    with open(whole.outputs[0].result().filepath) as file:
        print(f"{len(file.readlines())} lines, {files} files")
    lost = forget(outputs=[File("absent.txt")])
    try:
        lost.result()
    except MissingOutputs as error:
        print(type(error).__name__, [os.path.basename(one.filepath) for one in error.outputs])
    print(type(join(inputs=[lost.outputs[0]], outputs=[File("never.txt")]).exception()).__name__)
