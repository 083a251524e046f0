"""From a graph to a running step: preparation, fusion, kernels, memory, runtime."""
