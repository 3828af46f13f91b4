"""Where futures are looked for among arguments.

Prints:
    shallow: ['int', 'AppFuture'] ['int', 'int']
    deep: ['int', 'int'] ['int', 'int']
    plugged: 7
"""

from concurrent.futures import Future

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER, DependencyResolver


@python_app
def one(x):
    return x


@python_app
def kinds(x, nested, inputs=()):
    return [type(x).__name__, type(nested[0]).__name__], [type(i).__name__ for i in inputs]


@python_app
def plus(box, more):
    return box + more


class Box:
    def __init__(self, future):
        self.future = future


def gather(value):
    return (
        [value] if isinstance(value, Future) else [value.future] if isinstance(value, Box) else []
    )


def unwrap(value):
    if isinstance(value, Box):
        value = value.future
    return value.result() if isinstance(value, Future) else value


with parsl.load():
    print("shallow:", *kinds(one(1), [one(2)], inputs=[one(3), 4]).result())
with parsl.load(Config(dependency_resolver=DEEP_DEPENDENCY_RESOLVER)):
    print("deep:", *kinds(one(1), [one(2)], inputs=[one(3), 4]).result())
with parsl.load(Config(dependency_resolver=DependencyResolver(gather, unwrap))):
    print("plugged:", plus(Box(one(3)), one(4)).result())
