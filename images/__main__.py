"""`python -m images` is `pileus image`."""

from images.cli import image_group

image_group(prog_name="pileus image")
