"""Slides of all notebooks: ``jupyter nbconvert --config=examples/notebooks/slides.py``.

They are written to ``slides/``, one file each, with reveal.js from the network.
"""

from pathlib import Path

c = get_config()  # noqa: F821 - nbconvert runs this file, and has the name
c.NbConvertApp.export_format = "slides"
c.NbConvertApp.notebooks = sorted(map(str, Path(__file__).parent.glob("*.ipynb")))
c.FilesWriter.build_directory = "slides"
c.SlidesExporter.reveal_scroll = True  # a long program is read by scrolling
c.SlidesExporter.reveal_width, c.SlidesExporter.reveal_height = "1400", "800"
c.SlidesExporter.exclude_input_prompt = c.SlidesExporter.exclude_output_prompt = True
