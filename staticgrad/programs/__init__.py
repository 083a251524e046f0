"""Python functions of arrays as programs: traced once per signature, compiled, run."""
