"""What the library costs, beside its peers: ``python -m benchmarks``.

One file for each measurement; :mod:`benchmarks.harness` repeats, interleaves and tabulates.
Nothing here is a test: numbers are shown, as ratios within one run, and never asserted.
"""
