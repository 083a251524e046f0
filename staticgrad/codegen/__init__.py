"""Source of vector functions, in the kernel language that backends read."""
