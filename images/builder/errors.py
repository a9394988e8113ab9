"""Errors of the image builder: one root; the message names the item, the value and what to do."""


class ImageError(Exception):
    """Root of all errors of this package."""


class RecipeError(ImageError):
    """A recipe is missing, or says something the builder cannot do."""


class BuildError(ImageError):
    """A step of a build failed; carries the step's name and the last words of the tool."""

    def __init__(self, step: str, said: str) -> None:
        self.step = step
        super().__init__(f"{step}: {said}")


class BootError(ImageError):
    """A machine did not come up in time; carries the end of its serial console."""


class CatalogError(ImageError):
    """An image is not in the catalog, or what is there is damaged."""
