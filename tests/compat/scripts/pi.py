"""Monte Carlo pi, as in Parsl's tutorial.

Prints:
    3.1
"""

import parsl
from parsl import python_app

parsl.load()


@python_app
def pi(num_points, seed):
    from random import Random

    random = Random(seed)
    inside = 0
    for _ in range(num_points):
        x, y = random.random(), random.random()
        if x * x + y * y < 1:
            inside += 1
    return inside * 4 / num_points


@python_app
def mean(a, b, c):
    return (a + b + c) / 3


a, b, c = [pi(10**5, seed) for seed in range(3)]
print(f"{mean(a, b, c).result():.1f}")
parsl.wait_for_current_tasks()
parsl.dfk().cleanup()
parsl.clear()
