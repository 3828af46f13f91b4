"""Files in all their forms: names, futures of them, chains, failures, members of zip files.

Prints:
    a/b.txt file '' a/b.txt b.txt None
    a/b.txt a/b.txt
    c.txt file '' c.txt c.txt None
    c.txt c.txt
    file:///tmp/x.txt file '' /tmp/x.txt x.txt None
    /tmp/x.txt /tmp/x.txt
    http://h/p/q.txt http 'h' /p/q.txt q.txt None
    it has no path here
    zip:/tmp/a.zip/in.txt zip '' /tmp/a.zip/in.txt in.txt None
    it has no path here
    ['DataFuture', 'DataFuture'] a a True
    ([6, 3], ['File', 'File'])
    c True None False False
    xxxxxx None
    ValueError('no') DependencyError
    ['in/a.txt']
    ([4], ['File'])
    ([4], ['File'])
    []
"""

import os
import zipfile
from pathlib import Path

import parsl
from parsl import File, bash_app, python_app
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor


@python_app
def write(n, outputs=()):
    for one in outputs:
        with open(one, "w") as file:
            file.write("x" * n)
    return n


@bash_app
def cat(inputs=(), outputs=()):
    return f"cat {' '.join(one.filepath for one in inputs)} > {outputs[0]}"


@python_app
def sizes(inputs=()):
    return [os.path.getsize(one) for one in inputs], [type(one).__name__ for one in inputs]


@python_app
def broken(outputs=()):
    raise ValueError("no")


for url in ("a/b.txt", Path("c.txt"), "file:///tmp/x.txt", "http://h/p/q.txt",
            "zip:/tmp/a.zip/in.txt"):  # fmt: skip
    file = File(url)
    print(file.url, file.scheme, repr(file.netloc), file.path, file.filename, file.local_path)
    try:
        print(file.filepath, os.fspath(file))
    except ValueError:
        print("it has no path here")

place = os.path.abspath("place")
os.mkdir(place)
with parsl.load(Config(executors=[ThreadPoolExecutor(max_threads=2, working_dir=place)])):
    two = write(3, outputs=[File("a"), File("b")])
    first = two.outputs[0]
    print([type(one).__name__ for one in two.outputs], first.filepath, first.filename,
          first.tid == two.tid)  # fmt: skip
    whole = cat(inputs=two.outputs, outputs=[File("c")])
    print(sizes(inputs=[whole.outputs[0], File("a")]).result())
    one = whole.outputs[0]
    print(one.result().filepath, one.done(), one.exception(), one.cancelled(), one.running())
    print(Path("c").read_text(), whole.stdout)

    none = broken(outputs=[File("z")]).outputs[0]
    try:
        sizes(inputs=[none]).result()
    except Exception as error:
        print(repr(none.exception()), type(error).__name__)

    member = File(f"zip:{os.getcwd()}/z.zip/in/a.txt")
    zipped = write(4, outputs=[member])
    zipped.outputs[0].result()
    with zipfile.ZipFile("z.zip") as archive:
        print(archive.namelist())
    print(sizes(inputs=[member]).result())
    print(sizes(inputs=zipped.outputs).result())
    print(write(1).outputs)
