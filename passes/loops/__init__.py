"""Loops and branches as wholes: merged, freed of what nobody reads, residuals chosen."""
