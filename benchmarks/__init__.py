"""The yardstick: what workloads take in staticgrad and in its peers (``python -m benchmarks``).

A workload is one file of ``workloads/``, written once in the vocabulary of ``operations.py``; a
library is one file of ``implementations/``. Every pair runs in a process of its own, and a row
shows a time only after its results agreed with a float64 truth. Nothing here knows how staticgrad
computes; it is one implementation among the others.
"""
