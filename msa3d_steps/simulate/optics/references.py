"""jwst's WCS reference files for NIRSpec's MOS mode, made of the coefficients of its optics."""

from pathlib import Path

from astropy import units as u
from astropy.modeling.models import Polynomial1D
from stdatamodels.jwst.datamodels import (
    CameraModel,
    CollimatorModel,
    DisperserModel,
    FOREModel,
    FPAModel,
    MSAModel,
    OTEModel,
    WavelengthrangeModel,
)

from msa3d_steps.simulate.optics import dispersers, elements

__all__ = ["write_wcs_references"]

AUTHOR = "msa3d_steps (SYNTHETIC)"
USEAFTER = "2020-01-01T00:00:00"
DATE = "2020-01-01T00:00:00.000"  # fixed, so that the same files are the same bytes
CHECKS = {"strict_validation": True, "validate_on_assignment": False}  # once, when written
DESCRIPTIONS = {
    "camera": "rebuilt from the WCS of a real exposure",
    "collimator": "rebuilt from the WCS of a real exposure (from the sky on; linear the other way)",
    "disperser": "prism rebuilt from the WCS of a real exposure, gratings modelled",
    "fore": "rebuilt from the WCS of a real exposure, whatever its filter; used for all filters",
    "fpa": "one detector rebuilt from the WCS of a real exposure, the other modelled",
    "msa": "one quadrant rebuilt from the WCS of a real exposure, the others modelled",
    "ote": "rebuilt from the WCS of a real exposure",
    "wavelengthrange": "documented wavelength ranges",
}


def write_wcs_references(folder, grating, filter_, coefficients=None):
    """Write the reference files that jwst's ``assign_wcs`` asks for in NIRSpec's MOS mode.

    Parameters
    ----------
    folder : str or Path
        Where to; made if it does not exist.
    grating, filter_ : str
        One of `dispersers.CONFIGURATIONS`.
    coefficients : dict, optional
        As `extract.extract_coefficients` gives them; by default those of the package.

    Returns
    -------
    dict of str to Path
        The files by their reference type. The names of the disperser's and the fore optics' file
        have the grating and the filter, so that a folder can hold several.

    Raises
    ------
    InputError
        Where grating and filter are not simulated.
    """
    setup = dispersers.configuration(grating, filter_)
    c = elements.load_coefficients() if coefficients is None else coefficients
    models = {
        "camera": CameraModel(model=elements.camera(c), **CHECKS),
        "collimator": CollimatorModel(model=elements.collimator(c), **CHECKS),
        "disperser": _disperser(c, setup.grating),
        "fore": _fore(c, setup.filter),
        "fpa": _fpa(c),
        "msa": _msa(c),
        "ote": OTEModel(model=elements.ote(c), **CHECKS),
        "wavelengthrange": _wavelengthrange(),
    }
    in_name = {"disperser": f"_{setup.grating.lower()}", "fore": f"_{setup.filter.lower()}"}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for reftype, model in models.items():
        path = folder / f"synthetic_nirspec_{reftype}{in_name.get(reftype, '')}.asdf"
        _label(model, reftype, path.name)
        model.save(str(path))
        model.close()
        paths[reftype] = path
    return paths


def _label(model, reftype, filename):
    """Write the metadata that every reference file has."""
    meta = model.meta
    meta.telescope, meta.instrument.name = "JWST", "NIRSPEC"
    meta.reftype, meta.pedigree = reftype.upper(), "DUMMY"
    meta.author, meta.useafter = AUTHOR, USEAFTER
    meta.description = f"SYNTHETIC, for simulated data only: {DESCRIPTIONS[reftype]}"
    meta.date, meta.filename = DATE, filename
    meta.exposure.type, meta.exposure.p_exptype = "NRS_MSASPEC", "NRS_MSASPEC|"
    inputs, outputs = {
        "fpa": (u.pixel, u.m),
        "camera": (u.m, u.m),
        "collimator": (u.m, u.m),
        "msa": (u.m, u.m),
        "fore": (u.m, u.deg),
        "ote": (u.deg, u.arcsec),
    }.get(reftype, (None, None))
    if inputs is not None:
        meta.input_units, meta.output_units = inputs, outputs


def _fpa(c):
    """Make the detectors' file."""
    nrs1, nrs2 = (elements.fpa(c, detector) for detector in ("NRS1", "NRS2"))
    return FPAModel(nrs1_model=nrs1, nrs2_model=nrs2, **CHECKS)


def _fore(c, filter_):
    """Make the fore optics' file."""
    model = FOREModel(model=elements.fore(c), **CHECKS)
    model.meta.instrument.filter = filter_
    return model


def _msa(c):
    """Make the MSA's file; the quadrants share one table, which is written once."""
    table = elements.shutters(c)
    model = MSAModel(**CHECKS)
    for number in range(1, 6):
        data = elements.fixed_slits() if number == 5 else table
        setattr(model, f"Q{number}", {"model": elements.quadrant(c, number), "data": data})
    return model


def _disperser(c, grating):
    """Make a disperser's file, with angles that do not follow the grating wheel's sensors.

    The angles are those of one exposure and include its tilts; how they change with the readings
    of the sensors is not in its WCS.
    """
    model = DisperserModel(**CHECKS)
    for name, value in dispersers.disperser(c, grating).items():
        setattr(model, name, value)
    for name, reading in zip(("gwa_tiltx", "gwa_tilty"), c["disperser"]["sensors"], strict=True):
        tilt = {
            "temperatures": [35.0],
            "tilt_model": Polynomial1D(1, c0=0.0, c1=0.0),
            "unit": "arcsec",
            "zeroreadings": [float(reading)],
        }
        setattr(model, name, tilt)
    model.meta.instrument.grating = grating
    return model


def _wavelengthrange():
    """Make the file of wavelength ranges and orders, of all gratings and filters."""
    setups = dispersers.CONFIGURATIONS.values()
    return WavelengthrangeModel(
        wrange_selector=[f"{setup.filter}_{setup.grating}" for setup in setups],
        wrange=[[round(lam * 1e-6, 9) for lam in setup.wave_range] for setup in setups],
        order=[setup.order for setup in setups],
        wunits=u.m,
        **CHECKS,
    )
