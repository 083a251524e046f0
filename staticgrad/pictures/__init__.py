"""Pictures of programs as HTML and SVG text: what pages and notebooks show.

Nothing here knows what it draws: it is handed words and numbers, and needs nothing but Python.
"""
