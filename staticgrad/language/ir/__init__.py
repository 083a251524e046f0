"""The data of every stage: ops, graphs, expressions, kernels, schedules, plans, and their text."""
