"""Data models and file formats."""

from msa3d_steps.datamodels.linemaps import MSALineMapsModel
from msa3d_steps.datamodels.msacube import MSACubeModel

__all__ = ["MSACubeModel", "MSALineMapsModel"]
