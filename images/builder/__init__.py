"""Turns a recipe into a bootable, reproducible image: tree, disk, kernel, manifest, SBOM, boot check."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from images.builder.progress import Progress
    from images.catalog import CatalogImage


def build(name: str, progress: "Progress", *, refresh: bool = False) -> "CatalogImage":
    """The published image of a recipe, built only if its inputs changed; see `pipeline.build`."""
    # The pipeline publishes through the catalog, which reads this package's manifests.
    from images.builder import pipeline

    return pipeline.build(name, progress, refresh=refresh)
