"""Ten kernels by their text, one or more of each stage and rule, whose sources are kept."""
