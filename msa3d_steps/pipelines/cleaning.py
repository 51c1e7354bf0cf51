"""The steps of a pipeline that stand between calibrated exposures and cubes."""

from msa3d_steps.background.step import MSA3DBackgroundStep
from msa3d_steps.outlier.step import MSA3DOutlierStep
from msa3d_steps.pathloss.step import MSA3DPathlossStep

__all__ = ["CLEANING", "cleaning_steps"]

CLEANING = {
    "pathloss": MSA3DPathlossStep,
    "background": MSA3DBackgroundStep,
    "outlier": MSA3DOutlierStep,
}
"""The steps by their names, in the order of the work."""


def cleaning_steps(cleaning, threads):
    """Make the steps that are not skipped.

    Parameters
    ----------
    cleaning : dict
        Parameters by name of the step.
    threads : int
        Number of threads that a step may use.

    Returns
    -------
    list of ~msa3d_steps.cutout_step.MSA3DCutoutStep
        The steps.
    """
    steps = []
    for name, cls in CLEANING.items():
        if name in cleaning:
            step = cls(name, **cleaning[name])
            step.maximum_cores = str(threads)
            steps.append(step)
    return steps
