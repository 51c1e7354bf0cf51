"""JWST NIRSpec MSA slit stepping: calibrated 3-D spectral cubes, as stpipe steps beside jwst.

Public names are imported when they are first used, so that ``strun`` starts fast.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_LOCATIONS = {
    "IncompleteError": "msa3d_steps.errors",
    "InputError": "msa3d_steps.errors",
    "MSA3DCubeStep": "msa3d_steps.cube.step",
    "MSACubeModel": "msa3d_steps.datamodels",
}

__all__ = ["IncompleteError", "InputError", "MSA3DCubeStep", "MSACubeModel", "__version__"]

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
