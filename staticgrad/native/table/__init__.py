"""The driver of tables, whose rows run kernels or jump to other rows, and the worker pool."""
