"""What walks a table: rows that run kernels or say where to go on, and the pool of workers."""
