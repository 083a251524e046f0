"""Element types, sizes, shapes and arrays: what every later room is written in."""
