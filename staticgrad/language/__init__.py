"""Parts of a program: types, ops, graphs, and the functions that build them."""
