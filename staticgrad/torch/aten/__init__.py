"""PyTorch's programs, read as graphs of ATen operators: as modules, and for ``torch.compile``."""
