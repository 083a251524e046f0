"""Renderers of the Kernel form. ``numba_source`` writes readable Python for the Numba backend."""
