"""Take the coefficients of NIRSpec's reference models out of the WCS of a calibrated MOS cutout.

Usage: ``python -m msa3d_steps.simulate.optics.extract CUTOUT.fits COEFFICIENTS.asdf``

jwst builds the WCS of a slitlet by chaining the transforms of its reference files, unchanged, so
that they can be told apart in it by their names and their order. What a cutout does not contain is
the way from the grating wheel back through the collimator (jwst never goes there in MOS mode), the
other detector, the other dispersers and the other quadrants of the MSA.
"""

import argparse
import re
from pathlib import Path

import asdf
import numpy as np
from astropy.modeling import Model
from astropy.modeling.models import AffineTransformation2D, Polynomial2D, Scale, Shift
from gwcs.spectroscopy import AnglesFromGratingEquation3D
from stdatamodels.jwst.datamodels import SlitModel
from stdatamodels.jwst.transforms.models import Rotation3DToGWA, Snell

from msa3d_steps.errors import InputError

__all__ = ["extract_coefficients", "write_coefficients"]

MOS_FRAMES = ("detector", "sca", "gwa", "slit_frame", "msa_frame", "oteip")
DEGREE = 5
WAYS = {"forward": r"forw(ard)?", "backward": r"back(w(ard)?)?"}  # the files abbreviate variously


def extract_coefficients(cutout_path):
    """Read the coefficients of NIRSpec's reference models out of a cutout's WCS.

    Parameters
    ----------
    cutout_path : str or Path
        A `SlitModel` of NIRSpec's MOS mode after ``assign_wcs``, with its WCS.

    Returns
    -------
    dict
        Numbers, strings and arrays only:

        - ``provenance``: where they are from;
        - ``fpa``: ``detector``, ``matrix`` (m per pixel, shape ``(2, 2)``) and ``shift`` (m), from
          pixels of the detector's own frame to the focal plane;
        - ``camera``, ``collimator``, ``fore``, ``ote``: ``forward`` and ``backward``, the
          coefficients of the polynomials in x and y in the order of ``Polynomial2D.param_names``,
          shape ``(2, 21)``; ``matrix``, ``inner_shift`` and ``outer_shift`` of the linear part that
          follows them on the way forward (detector to sky). The collimator has no ``forward``, the
          fore optics have ``forward_per_m`` and ``backward_per_m`` for their change with
          wavelength;
        - ``msa``: ``quadrant``, its ``rotation`` (deg) and ``shift`` (m), the ``pitch`` of its
          shutters and their open ``size`` (m, both as x, y);
        - ``disperser``: ``grating``, ``angles`` (deg, about x, y, z, y), what it disperses with,
          and the readings of the grating wheel's sensors that the angles are for.

    Raises
    ------
    InputError
        Where the file is no such cutout.
    """
    with _open(cutout_path) as cutout:
        transforms = _transforms(cutout, cutout_path)
        try:
            return {
                "provenance": _provenance(cutout),
                "fpa": _fpa(cutout, transforms["sca"]),
                "camera": _distortion("camera", transforms["sca"], transforms["sca"].inverse),
                "collimator": _collimator(transforms["gwa"].inverse),
                "fore": _fore(transforms["msa_frame"]),
                "ote": _distortion("ote", transforms["oteip"], transforms["oteip"].inverse),
                "msa": _msa(cutout, transforms["slit_frame"], cutout_path),
                "disperser": _disperser(cutout, transforms["gwa"].inverse),
            }
        except (KeyError, StopIteration) as err:
            raise InputError(
                f"its WCS has no {err.args[0] if err.args else 'such transform'}, so it is not "
                "built from NIRSpec's reference files as jwst builds it; "
                "run jwst's assign_wcs and extract_2d again",
                str(cutout_path),
            ) from err


def write_coefficients(coefficients, path):
    """Write coefficients as a compressed ASDF file.

    Parameters
    ----------
    coefficients : dict
        As `extract_coefficients` gives them.
    path : str or Path
        The file.
    """
    with asdf.AsdfFile(coefficients) as file:
        file.write_to(Path(path), all_array_compression="zlib", all_array_storage="internal")


def _open(path):
    """Open a cutout."""
    if not Path(path).is_file():
        raise InputError("there is no such file; name a NIRSpec MOS cutout", str(path))
    try:
        return SlitModel(path)
    except Exception as err:
        raise InputError(
            f"cannot be opened as a SlitModel ({err}); name a NIRSpec MOS cutout (one slitlet of "
            "a calibrated exposure)",
            str(path),
        ) from err


def _transforms(cutout, path):
    """Find the transforms of a MOS WCS by the frame that they start from."""
    wcs = cutout.meta.wcs
    frames = () if wcs is None else tuple(wcs.available_frames)
    if cutout.meta.exposure.type != "NRS_MSASPEC" or not set(MOS_FRAMES) <= set(frames):
        what = "has no WCS" if wcs is None else f"has a WCS with the frames {', '.join(frames)}"
        raise InputError(
            f"is of exposure type {cutout.meta.exposure.type} and {what}; name a NIRSpec MOS "
            "cutout (NRS_MSASPEC) after jwst's extract_2d",
            str(path),
        )
    return {step.frame.name: step.transform for step in wcs.pipeline}


def _provenance(cutout):
    """Say where the coefficients are from."""
    meta = cutout.meta
    program = meta.observation.program_number.lstrip("0")
    instrument = meta.instrument
    return (
        f"JWST public data: GO-{program}, NIRSpec MOS, {instrument.detector}, "
        f"{instrument.grating}/{instrument.filter}, quadrant {cutout.quadrant}, shutter "
        f"{cutout.xcen}, {cutout.ycen}; its WCS is of jwst {meta.calibration_software_version} and "
        f"the CRDS context {meta.ref_file.crds.context_used}"
    )


def _parts(transform):
    """List the parts of a transform; what is fixed to a slit's name comes with a dict of it."""
    return [part for part in transform if isinstance(part, Model)]


def _named(transform):
    """Find the parts of a transform by their names."""
    return {part.name: part for part in _parts(transform) if part.name}


def _offsets(parts, *names):
    """Take the offsets of two shifts, shape ``(2,)``."""
    return np.array([float(parts[name].offset.value) for name in names])


def _polynomials(parts, element, way, suffix=""):
    """Take the coefficients of an element's polynomials in x and y, shape ``(2, 21)``."""
    coefficients = []
    for axis in "xy":
        pattern = re.compile(f"{element}_{axis}_{WAYS[way]}{suffix}")
        found = next((part for name, part in parts.items() if pattern.fullmatch(name)), None)
        if not isinstance(found, Polynomial2D) or found.degree != DEGREE:
            raise KeyError(f"polynomial {element}_{axis}_{way}{suffix} of degree {DEGREE}")
        coefficients.append(found.parameters)
    return np.array(coefficients)


def _distortion(name, forward, backward):
    """Take a pair of polynomials each way and the linear part between them."""
    ahead, back = _named(forward), _named(backward)
    return {
        "forward": _polynomials(ahead, name, "forward"),
        "backward": _polynomials(back, name, "backward"),
        "matrix": np.array(ahead[f"{name}_affine_d2s"].matrix.value),
        "inner_shift": _offsets(ahead, f"{name}_xincen_d2s", f"{name}_yincen_d2s"),
        "outer_shift": _offsets(ahead, f"{name}_xoutcen_d2s", f"{name}_youtcen_d2s"),
    }


def _fore(transform):
    """Take the fore optics, which may change with wavelength."""
    record = _distortion("fore", transform, transform.inverse)
    for way, model in (("forward", transform), ("backward", transform.inverse)):
        parts = _named(model)
        changes = any(name.endswith("dist") for name in parts)
        none = np.zeros_like(record[way])
        record[f"{way}_per_m"] = _polynomials(parts, "fore", way, "dist") if changes else none
    return record


def _collimator(to_gwa):
    """Take the collimator, of which the WCS has the way from the sky alone."""
    back = _named(to_gwa)
    affine = next(part for part in _parts(to_gwa) if isinstance(part, AffineTransformation2D))
    return {
        "backward": _polynomials(back, "collimator", "backward"),
        "matrix": np.linalg.inv(affine.matrix.value),
        "inner_shift": -_offsets(back, "collimator_xincen_d2s", "collimator_yincen_d2s"),
        "outer_shift": -_offsets(back, "collimator_xoutcen_d2s", "collimator_youtcen_d2s"),
    }


def _fpa(cutout, transform):
    """Take the place of the detector in the focal plane."""
    parts = _named(transform)
    return {
        "detector": cutout.meta.instrument.detector,
        "matrix": np.array(parts["fpa_affine_d2s"].matrix.value),
        "shift": _offsets(parts, "fpa_x_d2s", "fpa_y_d2s"),
    }


def _msa(cutout, transform, path):
    """Take the quadrant's place, and from the shutter's place in it the pitch of all shutters."""
    column, row = int(cutout.xcen), int(cutout.ycen)
    if min(column, row) < 2:
        raise InputError(
            f"its shutter {column}, {row} is at the edge of the quadrant, where its place does not "
            "tell the pitch; take another slitlet",
            str(path),
            str(cutout.name),
        )
    parts, quadrant = _named(transform), int(cutout.quadrant)
    sizes = [float(part.factor.value) for part in _parts(transform) if isinstance(part, Scale)]
    place = [float(part.offset.value) for part in _parts(transform) if isinstance(part, Shift)]
    rotation = next(part for name, part in parts.items() if re.fullmatch(r"msa_Q\d_rot", name))
    return {
        "quadrant": quadrant,
        "rotation": float(rotation.angle.value),
        "shift": _offsets(parts, f"msa_Q{quadrant}_x", f"msa_Q{quadrant}_y"),
        "pitch": np.array([place[0] / (column - 1), place[1] / (row - 1)]),
        "size": np.array(sizes[:2]),
    }


def _disperser(cutout, to_gwa):
    """Take the disperser: its angles, and what disperses."""
    parts, instrument = _parts(to_gwa), cutout.meta.instrument
    rotation = next(part for part in parts if isinstance(part, Rotation3DToGWA))
    record = {
        "grating": instrument.grating,
        "angles": np.array(rotation.angles.value),
        "sensors": np.array([instrument.gwa_xtilt, instrument.gwa_ytilt]),
    }
    for part in parts:
        if isinstance(part, Snell):
            record.update(
                prism_angle=float(part.prism_angle),
                kcoef=np.array(part.kcoef),
                lcoef=np.array(part.lcoef),
                tcoef=np.array(part.tcoef),
                tref=float(part.tref),
                pref=float(part.pref),
            )
        elif isinstance(part, AnglesFromGratingEquation3D):
            record["groove_density"] = float(part.groove_density.value)
    return record


def main(arguments=None):
    """Write the coefficients of a cutout.

    Parameters
    ----------
    arguments : list of str, optional
        The command line.
    """
    parser = argparse.ArgumentParser(
        description="Write the coefficients of NIRSpec's optics that the WCS of a cutout contains."
    )
    parser.add_argument("cutout", type=Path, help="a calibrated NIRSpec MOS cutout (SlitModel)")
    parser.add_argument("output", type=Path, help="ASDF file to write")
    options = parser.parse_args(arguments)
    write_coefficients(extract_coefficients(options.cutout), options.output)


if __name__ == "__main__":
    main()
