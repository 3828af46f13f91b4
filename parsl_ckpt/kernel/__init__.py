"""The kernel: owner of every task's state, from the call of an app to the answer of its future."""
