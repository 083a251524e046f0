"""From a graph to a running step: fusion, kernels, memory, runtime."""
