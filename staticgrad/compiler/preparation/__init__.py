"""Rewrites of a graph just before its nodes are grouped: Graph -> Graph, only for kernels."""
