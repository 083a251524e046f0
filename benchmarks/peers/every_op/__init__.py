"""Every op of the registry beside NumPy, JAX and PyTorch: ``python -m benchmarks every_op``.

An op at a time, forward and backward, in four layouts and at sizes from 10 to 10**7 elements. What
is called stands in ``cases``, by whom in ``libraries``; ``measure`` times, ``report`` shows.
"""

from benchmarks.peers.every_op.command import builders as builders, main as main
