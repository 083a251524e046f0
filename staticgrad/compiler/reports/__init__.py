"""Reports about a compiled program: sections, pictures, pages, times and counts."""
