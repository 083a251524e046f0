"""What a compiled program says of itself: sections, pictures, pages, times and counts."""
