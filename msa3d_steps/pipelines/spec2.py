"""Stage 2 for slit stepping: jwst's own, with the choices that these data want."""

import logging

from jwst.assign_wcs.util import NoDataOnDetectorError
from jwst.pipeline import Spec2Pipeline

from msa3d_steps.errors import InputError, Problem
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.pipelines.defaults import SPEC2
from msa3d_steps.relabel.step import MSA3DRelabelStep

__all__ = ["MSA3DSpec2Pipeline"]

log = logging.getLogger(__name__)


class MSA3DSpec2Pipeline(MSA3DStep, Spec2Pipeline):
    """Calibrate exposures of slit stepping: slope images in, slits in MJy/sr out.

    jwst's calwebb_spec2 with other defaults: the MSA metafile is repaired first, every source is
    extended, and there is no subtraction of nods, rectification or extraction. Bar shadow
    (--steps.barshadow.skip), path loss (--steps.pathloss.skip) and 1/f noise
    (--steps.clean_flicker_noise.skip) are for the user to choose.
    """

    class_alias = "msa3d_spec2"

    defaults = SPEC2

    spec = """
    msa_metafile = string(default=None) # MSA metafile to use instead of the one that the exposures name
    """  # noqa: E501

    step_defs = {"relabel": MSA3DRelabelStep, **Spec2Pipeline.step_defs}  # noqa: RUF012

    def process(self, data):
        """Calibrate exposures.

        Parameters
        ----------
        data : str, dict, or JwstDataModel
            A slope image (rate), an association of such, or its model.

        Returns
        -------
        list of `~stdatamodels.jwst.datamodels.MultiSlitModel`
            One model for each exposure that could be calibrated.

        Raises
        ------
        InputError
            Where no exposure could.
        """
        before = len(self.problems)
        results = super().process(data)
        if not results and len(self.problems) > before:
            raise InputError("; ".join(map(str, self.problems[before:])))
        return results

    def process_exposure_product(self, exp_product, *args):
        """Calibrate one exposure; what goes wrong is noted, and the others go on.

        Parameters
        ----------
        exp_product : dict
            A product of a level-2 association.
        *args
            As in jwst.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.MultiSlitModel` or None
            The slits.
        """
        name = exp_product["name"]
        try:
            members = [self._relabelled(member) for member in exp_product["members"]]
            return super().process_exposure_product({**exp_product, "members": members}, *args)
        except InputError as err:
            problem = err.problem
        except NoDataOnDetectorError:
            raise  # has an exit status of its own
        except Exception as err:
            log.debug("%s could not be calibrated", name, exc_info=True)
            reason = str(err).splitlines()[0] if str(err) else type(err).__name__
            problem = Problem(f"cannot be calibrated ({reason})", name)
        log.error("%s", problem)
        self.problems.append(problem)
        return None

    def _relabelled(self, member):
        """Point a science member to a repaired MSA metafile."""
        if member["exptype"].lower() != "science" or self.relabel.skip:
            return member
        self.relabel.msa_metafile = self.msa_metafile or self.relabel.msa_metafile
        model = self.relabel.run(member["expname"])
        self.problems.extend(self.relabel.problems)
        return {**member, "expname": model}
