"""Kernels as readable Python source, which every backend reads; ``kernel_source`` renders them."""
