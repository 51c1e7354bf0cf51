"""JWST NIRSpec MSA slit stepping: calibrated 3-D spectral cubes, as stpipe steps beside jwst.

Public names are imported when they are first used, so that ``strun`` starts fast.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_LOCATIONS = {
    "IncompleteError": "msa3d_steps.errors",
    "InputError": "msa3d_steps.errors",
    "MSA3DBackgroundStep": "msa3d_steps.background.step",
    "MSA3DCubeStep": "msa3d_steps.cube.step",
    "MSA3DOutlierStep": "msa3d_steps.outlier.step",
    "MSA3DPathlossStep": "msa3d_steps.pathloss.step",
    "MSA3DPipeline": "msa3d_steps.pipelines.survey",
    "MSA3DQuicklookStep": "msa3d_steps.quicklook.step",
    "MSA3DRelabelStep": "msa3d_steps.relabel.step",
    "MSA3DSpec2Pipeline": "msa3d_steps.pipelines.spec2",
    "MSA3DSpec3Pipeline": "msa3d_steps.pipelines.spec3",
    "MSACubeModel": "msa3d_steps.datamodels",
    "MSALineMapsModel": "msa3d_steps.datamodels",
    "run": "msa3d_steps.pipelines.oneshot",
}

__all__ = [
    "IncompleteError",
    "InputError",
    "MSA3DBackgroundStep",
    "MSA3DCubeStep",
    "MSA3DOutlierStep",
    "MSA3DPathlossStep",
    "MSA3DPipeline",
    "MSA3DQuicklookStep",
    "MSA3DRelabelStep",
    "MSA3DSpec2Pipeline",
    "MSA3DSpec3Pipeline",
    "MSACubeModel",
    "MSALineMapsModel",
    "__version__",
    "run",
]

try:
    __version__ = version("msa3d-steps")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name):
    if name in _LOCATIONS:
        return getattr(import_module(_LOCATIONS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
