"""Source of products, sorts and vector functions, in the kernel language that backends read."""
