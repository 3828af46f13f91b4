"""Memoization within a run: hits, arguments that do not count, failures, unknown types.

Prints:
    [3, 3, 4] ['slow 2', 'slow 3']
    memo_done True
    ['a', 'a'] ['noisy 1']
    KeyError KeyError 1
    ValueError unknown type for memoization: <class 'set'>
    Point(1) 1
"""

import parsl
from parsl import python_app
from parsl.dataflow.memoization import id_for_memo

ran = []


class Point:
    def __init__(self, x):
        self.x = x


@id_for_memo.register(Point)
def point_id(point, output_ref=False):
    return id_for_memo(point.x)


@python_app(cache=True)
def slow(x):
    ran.append(f"slow {x}")
    return x + 1


@python_app(cache=True, ignore_for_cache=["label"])
def noisy(x, label=None):
    ran.append(f"noisy {x}")
    return label


@python_app(cache=True)
def broken(x):
    ran.append("broken")
    raise KeyError(x)


@python_app(cache=True)
def shown(point):
    ran.append("point")
    return f"Point({point.x})"


parsl.load()
values = [slow(2).result(), slow(2).result(), slow(3).result()]
print(values, ran)
again = slow(2)
again.result()
print(again.task_status(), again.task_record["from_memo"])
ran.clear()
print([noisy(1, label="a").result(), noisy(1, label="b").result()], ran)
ran.clear()
print(*[type(broken(1).exception()).__name__ for _ in range(2)], len(ran))
error = shown({1, 2}).exception()
name = "ValueError" if isinstance(error, ValueError) else type(error).__name__
print(name, str(error).split(">")[0] + ">")
ran.clear()
shown(Point(1)).result()
print(shown(Point(1)).result(), len(ran))
parsl.dfk().cleanup()
