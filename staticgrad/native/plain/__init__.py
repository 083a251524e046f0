"""The kernel language as plain Python: vectors are NumPy arrays, a loop walks the table."""
