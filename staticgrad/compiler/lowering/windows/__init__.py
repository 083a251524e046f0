"""Convolutions, pools and their gradients to kernels."""
