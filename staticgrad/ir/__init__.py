"""The data of every stage: types, ops, graphs, schedules, plans, and their text. No algorithm."""
