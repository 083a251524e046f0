"""``sg.checkpoint``: policies that select saved values, and marks on values."""
