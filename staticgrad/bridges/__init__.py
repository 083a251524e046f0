"""Functions, models and arrays in PyTorch, JAX, scikit-learn and SciPy. Each module is optional."""
