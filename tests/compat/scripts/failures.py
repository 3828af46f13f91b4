"""What is told of failures, and of kernels that are not there.

Prints:
    NoDataFlowKernelError Must first load config
    DependencyError ZeroDivisionError('division by zero')
    with the cause's traceback True
    ConfigurationError Config has already been loaded
    dep_fail failed
    1 3
    NoDataFlowKernelError Cannot submit to a DFK that has been cleaned up
"""

import traceback

import parsl
from parsl import python_app
from parsl.dataflow.errors import DependencyError
from parsl.dataflow.states import States
from parsl.errors import ConfigurationError, NoDataFlowKernelError


def said(error):
    return type(error).__name__, str(error).split(".")[0]


@python_app
def divide(a, b):
    return a / b


@python_app
def after(x):
    return x


try:
    divide(1, 2)
except NoDataFlowKernelError as error:
    print(*said(error))
with parsl.load() as dfk:
    first = divide(1, 0)
    second = after(after(first))
    error = second.exception()
    assert isinstance(error, DependencyError)
    print(type(error).__name__, repr(error.__cause__))
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    print("with the cause's traceback", "return a / b" in shown)
    try:
        parsl.load()
    except ConfigurationError as again:
        print(*said(again))
    print(second.task_status(), first.task_status())
    parsl.wait_for_current_tasks()
    print(dfk.task_state_counts[States.failed], dfk.task_count)


@python_app(data_flow_kernel=dfk)
def late(x):
    return x


try:
    late(1)
except NoDataFlowKernelError as error:
    print(*said(error))
