"""What a graph becomes just before its nodes are grouped: Graph -> Graph, for kernels alone."""
