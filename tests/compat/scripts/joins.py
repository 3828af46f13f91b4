"""Apps that call apps and return their futures.

Prints:
    55
    [0, 1, 4]
    JoinError KeyError('inner')
    True
    TypeError
"""

import parsl
from parsl import join_app, python_app
from parsl.dataflow.errors import JoinError


@python_app
def add(a, b):
    return a + b


@join_app
def fibonacci(n):
    if n < 2:
        return add(0, n)
    return add(fibonacci(n - 1), fibonacci(n - 2))


@join_app
def squares(n):
    return [square(i) for i in range(n)]


@python_app
def square(i):
    return i * i


@python_app
def fail():
    raise KeyError("inner")


@join_app
def outer():
    return [square(1), fail()]


@join_app
def wrong():
    return 7


with parsl.load():
    print(fibonacci(10).result())
    print(squares(3).result())
    error = outer().exception()
    print(type(error).__name__, repr(error.__cause__))
    print(isinstance(error, JoinError) and error.dependent_exceptions_tids[0][0] is error.__cause__)
    print("TypeError" if isinstance(wrong().exception(), TypeError) else "?")
