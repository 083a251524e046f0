"""The table of doors and kinds: every public way in, through and out, with every kind of value."""
