"""What a program is: types, ops, graphs, and the functions that build them."""
