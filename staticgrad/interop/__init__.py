"""Functions, models and solvers for PyTorch, JAX, scikit-learn and SciPy, each optional."""
