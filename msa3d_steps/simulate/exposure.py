"""The exposures of a survey as jwst models: rate images and calibrated slitlets."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from astropy.time import Time, TimeDelta
from stdatamodels.jwst.datamodels import ImageModel, MultiSlitModel, dqflags

from msa3d_steps.simulate.references.calibration import flat_bad_pixels
from msa3d_steps.simulate.references.throughput import ARCSEC2, PIXEL_AREA, conversion, find_grating

__all__ = ["PROGRAM", "ExposureName", "cal_model", "metadata", "rate_model"]

PROGRAM, VISIT, GROUP = "09999", "001", "03101"
SCA_NUMBER = {"NRS1": 491, "NRS2": 492}
READOUT_AXES = {"NRS1": (2, 1), "NRS2": (-2, -1)}  # fastaxis, slowaxis
START = Time("2024-06-01T00:00:00", scale="utc")
OVERHEAD = 120.0  # s between exposures
GROUP_TIME = 72.944  # s, of NRSIRS2
RAMP_STEPS = ("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_sub", "jump",
              "ramp_fit", "gain_scale")  # fmt: skip
DONE = ("assign_wcs", "extract_2d", "srctype", "flat_field", "pathloss", "barshadow", "photom")
SKIPPED = ("badpix_selfcal", "bkg_subtract", "clean_flicker_noise", "imprint", "wavecorr")
DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
NO_FLAT = DO_NOT_USE | dqflags.pixel["NO_FLAT_FIELD"] | dqflags.pixel["UNRELIABLE_FLAT"]
ARCSEC2_IN_MICROJANSKY = 1e12 * ARCSEC2  # uJy per MJy/sr over one square arcsecond


@dataclass(frozen=True)
class ExposureName:
    """Name of the exposure of one detector, as the ground system would give it.

    Attributes
    ----------
    number : int
        Of the exposure, from 1.
    detector : str
        NRS1 or NRS2.
    observation : int
        Of the observation, from 1.
    """

    number: int
    detector: str
    observation: int = 1

    def file(self, suffix):
        """Name of a file."""
        return f"{self.stem}_{suffix}.fits"

    @property
    def stem(self):
        """Name without suffix."""
        base = f"jw{PROGRAM}{self.observation:03d}{VISIT}_{GROUP}_{self.number:05d}"
        return f"{base}_{self.detector.lower()}"

    @staticmethod
    def metafile(observation=1):
        """Name of the MSA metafile."""
        return f"jw{PROGRAM}{observation:03d}{VISIT}_01_msa.fits"

    @staticmethod
    def product(observation=1):
        """Name of what is made of all exposures."""
        return f"jw{PROGRAM}-o{observation:03d}"


def metadata(survey, name, pointing, offset):
    """Make the metadata of an exposure.

    Parameters
    ----------
    survey : Survey
        What is simulated.
    name : ExposureName
        Which exposure.
    pointing : Pointing
        Where the telescope looks.
    offset : ndarray
        Commanded offset across and along the slits, arcsec, shape ``(2,)``.

    Returns
    -------
    dict
        The tree below ``meta``.
    """
    start = START + TimeDelta((name.number - 1) * (survey.exposure_time + OVERHEAD), format="sec")
    middle, end = (start + TimeDelta(f * survey.exposure_time, format="sec") for f in (0.5, 1.0))
    fast, slow = READOUT_AXES[name.detector]
    observation = f"{name.observation:03d}"
    visit = f"{PROGRAM}{observation}{VISIT}"
    return {
        "telescope": "JWST",
        "origin": "msa3d_simulate",
        "date": START.isot,
        "time_sys": "UTC",
        "time_unit": "s",
        "coordinates": {"reference_frame": "ICRS"},
        "program": {
            "title": "SIMULATED slit-stepping survey", "pi_name": "msa3d_simulate",
            "category": "COM", "science_category": "Simulation",
        },
        "observation": {
            "date": start.strftime("%Y-%m-%d"), "time": start.strftime("%H:%M:%S.%f")[:-3],
            "date_beg": start.isot, "date_end": end.isot,
            "obs_id": f"V{visit}P00000000{GROUP}", "visit_id": visit, "program_number": PROGRAM,
            "observation_number": observation, "visit_number": VISIT, "visit_group": GROUP[:2],
            "sequence_id": GROUP[2], "activity_id": GROUP[3:],
            "exposure_number": str(name.number), "template": "NIRSpec MultiObject Spectroscopy",
            "bkgdtarg": False,
        },
        "visit": {"type": "PRIME_TARGETED_FIXED", "status": "SUCCESSFUL", "tsovisit": False,
                  "start_time": START.strftime("%Y-%m-%d %H:%M:%S.%f0"),
                  "total_exposures": survey.n_exposures},
        "target": {
            "type": "FIXED", "ra": survey.ra, "dec": survey.dec, "proposer_name": "SIMULATED",
            "catalog_name": "SIMULATED", "source_type_apt": "EXTENDED",
            "proposer_ra": survey.ra, "proposer_dec": survey.dec,
        },
        "instrument": {
            "name": "NIRSPEC", "detector": name.detector, "grating": survey.grating,
            "filter": survey.filter, "lamp_state": "NONE", "lamp_mode": "MSASPEC",
            "gwa_xtilt": 0.338, "gwa_ytilt": 0.032, "gwa_tilt": 36.05, "focus_position": 3,
            "msa_state": "PRIMARYPARK_CONFIG", "msa_configuration_id": 1, "msa_metadata_id": 1,
            "msa_metadata_file": name.metafile(name.observation),
        },
        "exposure": {
            "type": "NRS_MSASPEC", "count": survey.n_exposures, "readpatt": "NRSIRS2",
            "sca_num": SCA_NUMBER[name.detector], "nints": 1, "nframes": 5, "groupgap": 0,
            "ngroups": max(2, round(survey.exposure_time / GROUP_TIME)),
            "group_time": GROUP_TIME, "frame_time": 14.58889, "gain_factor": 1.0,
            "integration_time": survey.exposure_time, "exposure_time": survey.exposure_time,
            "effective_exposure_time": survey.exposure_time, "duration": survey.exposure_time,
            "elapsed_exposure_time": survey.exposure_time,
            "start_time": start.mjd, "mid_time": middle.mjd, "end_time": end.mjd,
            "start_time_mjd": start.mjd, "mid_time_mjd": middle.mjd, "end_time_mjd": end.mjd,
        },
        "dither": {
            "primary_type": "NONE", "nod_type": "NONE", "position_number": name.number,
            "total_points": survey.n_exposures,
            "x_offset": float(offset[0]), "y_offset": float(offset[1]),
        },
        "subarray": {
            "name": "FULL", "xstart": 1, "ystart": 1, "xsize": 2048, "ysize": 2048,
            "fastaxis": fast, "slowaxis": slow,
        },
        "aperture": {
            "name": "NRS_FULL_MSA", "pps_name": "NRS_FULL_MSA",
            "position_angle": (pointing.roll + 138.5745697) % 360,
        },
        "wcsinfo": {
            "v2_ref": pointing.v2, "v3_ref": pointing.v3, "v3yangle": 138.5745697, "vparity": -1,
            "ra_ref": pointing.ra, "dec_ref": pointing.dec, "roll_ref": pointing.roll,
            "velosys": 0.0, "specsys": "BARYCENT",
        },
        "pointing": {"ra_v1": pointing.ra, "dec_v1": pointing.dec, "pa_v3": pointing.roll % 360},
        "velocity_aberration": {
            "scale_factor": 1.0, "va_ra_ref": pointing.ra, "va_dec_ref": pointing.dec
        },
    }  # fmt: skip


def rate_model(meta, name, exposed):
    """Make the rate image of an exposure.

    Parameters
    ----------
    meta : dict
        Of `metadata`.
    name : ExposureName
        Which exposure.
    exposed : Exposure or None
        What the detector gave; None for a blank image.

    Returns
    -------
    ImageModel
        The image, DN/s.
    """
    shape = (2048, 2048)
    zero = np.zeros(shape, np.float32)
    arrays = {
        "data": zero, "err": zero, "var_poisson": zero, "var_rnoise": zero,
        "dq": np.zeros(shape, np.uint32),
    }  # fmt: skip
    if exposed is not None:
        arrays = {key: getattr(exposed, key) for key in arrays}
    own = {"filename": name.file("rate"), "bunit_data": "DN/s", "bunit_err": "DN/s",
           "model_type": "ImageModel"}  # fmt: skip
    steps = {"cal_step": dict.fromkeys(RAMP_STEPS, "COMPLETE")}
    return ImageModel({**arrays, "meta": {**meta, **own, **steps}})


def cal_model(meta, name, slits, exposed, responses, to_sky, stuck_open=False):
    """Make the calibrated slitlets of an exposure, as ``calwebb_spec2`` would.

    Parameters
    ----------
    meta : dict
        Of `metadata`.
    name : ExposureName
        Which exposure.
    slits : list of DetectorSlit
        The slitlets on the detector.
    exposed : Exposure
        What the detector gave, DN/s.
    responses : list of ndarray
        DN/s per MJy/sr of the pixels of each slitlet.
    to_sky : Model
        Transform from v2, v3 to the sky.
    stuck_open : bool
        A shutter is stuck open, so that pixels were flagged.

    Returns
    -------
    MultiSlitModel
        The slitlets, MJy/sr.
    """
    steps = dict.fromkeys((*RAMP_STEPS, *DONE), "COMPLETE") | dict.fromkeys(SKIPPED, "SKIPPED")
    steps["msa_flagging"] = "COMPLETE" if stuck_open else "SKIPPED"
    meta = {**meta, "filename": name.file("cal"), "cal_step": steps}
    common = {
        "spectral_order": slits[0].model.meta.wcsinfo.spectral_order,
        "waverange_start": slits[0].model.meta.wcsinfo.waverange_start,
        "waverange_end": slits[0].model.meta.wcsinfo.waverange_end,
        "dispersion_direction": 1,
    }
    meta["wcsinfo"] = {**meta["wcsinfo"], **common}
    trees = [
        _slit_tree(meta, name, slit, exposed, response, to_sky)
        for slit, response in zip(slits, responses, strict=True)
    ]
    whole = {key: value for key, value in meta.items() if key not in OF_SLITS}
    for group, own in (("aperture", "position_angle"), ("velocity_aberration", "scale_factor")):
        whole[group] = {key: value for key, value in meta[group].items() if key != own}
    return MultiSlitModel({"meta": {**whole, "model_type": "MultiSlitModel"}, "slits": trees})


OF_SLITS = ("wcsinfo", "pointing", "coordinates")  # jwst's files say it of the slitlets alone


NAMES = (
    "name", "xstart", "xsize", "ystart", "ysize", "source_id", "slit_ymin", "slit_ymax",
    "shutter_id", "source_name", "source_alias", "stellarity", "source_xpos", "source_ypos",
    "slitlet_id", "quadrant", "xcen", "ycen", "source_ra", "source_dec", "slit_xscale",
    "slit_yscale", "shutter_state",
)  # fmt: skip


def _slit_tree(meta, name, slit, exposed, response, to_sky):
    """Make the tree of a slitlet."""
    window = slit.window
    dq = exposed.dq[window] | flat_bad_pixels(name.detector)[window] * np.uint32(NO_FLAT)
    unknown = ~np.isfinite(response) | (dq & DO_NOT_USE > 0)
    dq = np.where(unknown, dq | DO_NOT_USE, dq)
    factor = np.where(unknown, np.nan, 1 / response)
    arrays = {
        "data": exposed.data[window] * factor,
        "err": exposed.err[window] * factor,
        "var_poisson": exposed.var_poisson[window] * factor**2,
        "var_rnoise": exposed.var_rnoise[window] * factor**2,
        "var_flat": np.where(unknown, np.nan, 0.0),
        "wavelength": slit.pixels.lam,
    }
    tree = {key: getattr(slit.model, key) for key in NAMES}
    tree |= {key: array.astype(np.float32) for key, array in arrays.items()}
    tree |= {
        "dq": dq.astype(np.uint32), "source_type": "EXTENDED", "dither_position": name.number,
        "barshadow_corrected": True, "pathloss_correction_type": "UNIFORM",
    }  # fmt: skip
    tree["meta"] = {
        **deepcopy(meta), "filename": name.file("rate"), "model_type": "SlitModel",
        "wcs": slit.wcs(to_sky), "bunit_data": "MJy/sr", "bunit_err": "MJy/sr",
        "wcsinfo": {**meta["wcsinfo"], "s_region": slit.place.s_region(to_sky)},
        "photometry": _photometry(meta["instrument"]["grating"], meta["instrument"]["filter"]),
    }  # fmt: skip
    return tree


def _photometry(grating, filter_):
    """State the conversion to flux and the area of a pixel, as jwst's ``photom`` does."""
    lam = np.linspace(*find_grating(grating, filter_).lam_range, 2000)
    factor = 1 / float(conversion(lam, grating, filter_).max())
    return {
        "conversion_megajanskys": factor,
        "conversion_microjanskys": factor * ARCSEC2_IN_MICROJANSKY,
        "pixelarea_steradians": PIXEL_AREA, "pixelarea_arcsecsq": PIXEL_AREA / ARCSEC2,
    }  # fmt: skip
