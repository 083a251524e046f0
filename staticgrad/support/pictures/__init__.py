"""Pictures of programs as HTML and SVG text: what pages and notebooks show.

Functions take words and numbers and give text.
"""
