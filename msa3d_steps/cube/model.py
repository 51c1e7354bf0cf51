"""From planes to the product: metadata, FITS WCS, gwcs and tables."""

from dataclasses import dataclass

import numpy as np
from jwst.assign_wcs.pointing import create_fitswcs
from jwst.model_blender import ModelBlender
from stdatamodels.jwst.datamodels import SlitModel
from stdatamodels.jwst.datamodels.dqflags import pixel as dqflags

import msa3d_steps
from msa3d_steps.cube.registration.offsets import Move
from msa3d_steps.cube.tangent import ARCSEC, from_plane
from msa3d_steps.datamodels import MSACubeModel

__all__ = ["make_model", "set_sharpness"]

KEYWORDS = [f"correlation_{side}_{number}" for number in (1, 10) for side in (3, 5, 7)]
"""Apertures whose factors are keywords: side in spaxels and number of channels."""

NO_COVERAGE = dqflags["DO_NOT_USE"] | dqflags["NON_SCIENCE"]


def make_model(source, grid, voxels, correlation, pattern, grid_options, combine_options):
    """Assemble the cube of one source.

    Parameters
    ----------
    source : `~msa3d_steps.cube.sources.Source`
        What the cube was made of.
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        The voxels.
    voxels : `~msa3d_steps.cube.combine.Voxels`
        Their values.
    correlation : `~msa3d_steps.cube.correlation.Correlation`
        How their errors add up.
    pattern : `~msa3d_steps.cube.pattern.Pattern`
        The pattern found.
    grid_options, combine_options : GridOptions, CombineOptions
        What was asked for.

    Returns
    -------
    MSACubeModel
        The cube, without a file name.
    """
    model = MSACubeModel(
        data=voxels.data,
        err=voxels.err,
        dq=np.where(np.isfinite(voxels.data), 0, NO_COVERAGE).astype(np.uint32),
        weightmap=voxels.weight,
        validate_on_assignment=False,  # hundreds of keywords; all are validated on writing
    )
    model.etime = voxels.time
    model.nexp = voxels.exposures
    _blend_headers(model, source)
    _set_metadata(model, source, pattern, grid, grid_options, combine_options)
    _set_wcs(model, grid)
    model.exposure_table = _exposure_table(source, pattern, voxels, grid, model)
    _set_correlation(model, correlation)
    return model


def set_sharpness(model, sharpness):
    """Write the resolution of an inverse solution into its cube.

    Parameters
    ----------
    model : MSACubeModel
        The cube; changed in place.
    sharpness : `~msa3d_steps.cube.inverse.resolution.Sharpness` or None
        Its resolution; None for other methods, which leaves the cube as it is.
    """
    if sharpness is None:
        return
    meta = model.meta.msa3d
    meta.smoothing, meta.sharper = sharpness.smoothing, sharpness.gained
    meta.fwhm_across, meta.fwhm_along = sharpness.across, sharpness.along
    meta.drizzle_fwhm_across = sharpness.drizzle_across
    meta.drizzle_fwhm_along = sharpness.drizzle_along
    if np.isfinite(sharpness.noise):
        meta.noise_ratio = sharpness.noise


@dataclass(frozen=True)
class _Header:
    """The metadata of one exposure as the blender wants to see a model."""

    flat: dict
    schema: dict

    def to_flat_dict(self, include_arrays=False):
        """Give the metadata by dotted names."""
        return self.flat


def _blend_headers(model, source):
    """Blend the metadata of the exposures and keep them in HDRTAB, as jwst does."""
    blender = ModelBlender(
        blend_ignore_attrs=["meta.filename", "meta.model_type", "meta.wcsinfo", "meta.msa3d"]
    )
    schema = SlitModel().schema
    for header in source.headers:
        blender.accumulate(_Header(header, schema))
    blender.finalize_model(model)


def _set_metadata(model, source, pattern, grid, grid_options, combine_options):
    cutouts = source.cutouts
    times = {c.exposure: c.exposure_time for c in cutouts}
    meta = model.meta
    meta.bunit_data = meta.bunit_err = "MJy/sr"
    meta.photometry.pixelarea_arcsecsq = grid.scale**2
    meta.photometry.pixelarea_steradians = (grid.scale * ARCSEC) ** 2
    meta.exposure.exposure_time = meta.exposure.effective_exposure_time = sum(times.values())
    meta.target.source_type = "EXTENDED"
    meta.cal_step.cube_build = "COMPLETE"
    meta.ifu.flux_extension, meta.ifu.error_extension = "SCI", "ERR"
    meta.ifu.dq_extension, meta.ifu.error_type = "DQ", "ERR"
    meta.ifu.weighting = "drizzle"
    meta.msa3d = {
        "version": msa3d_steps.__version__,
        "source_label": source.label,
        "source_id": source.source_id,
        "source_name": source.name,
        "n_steps": pattern.n_steps,
        "n_dithers": pattern.n_dithers,
        "n_angles": pattern.n_angles,
        "n_exposures": len(times),
        "n_cutouts": len(cutouts),
        "step_size": pattern.step_size,
        "dither_size": pattern.dither_size,
        "coord_system": grid_options.coord_system,
        "cube_pa": grid.position_angle,
        "method": combine_options.method,
        "weighting": combine_options.weighting,
        "slit_frac": combine_options.slit_frac,
        "pixfrac": combine_options.pixfrac,
        **(source.registered or {"register": "none"}),
    }
    if source.ra is not None and source.dec is not None:
        meta.msa3d.source_ra, meta.msa3d.source_dec = float(source.ra), float(source.dec)


def _set_wcs(model, grid):
    """Write the same WCS as FITS keywords and as a gwcs object."""
    info = model.meta.wcsinfo
    info.wcsaxes = 3
    info.ctype1, info.ctype2 = "RA---TAN", "DEC--TAN"
    info.cunit1 = info.cunit2 = "deg"
    info.cunit3 = "um"
    info.crval1, info.crval2 = grid.ra_center, grid.dec_center
    info.crpix1, info.crpix2 = (grid.nx + 1) / 2, (grid.ny + 1) / 2
    info.cdelt1 = info.cdelt2 = grid.scale / 3600
    (info.pc1_1, info.pc1_2), (info.pc2_1, info.pc2_2) = grid.axes.tolist()
    info.pc1_3 = info.pc2_3 = info.pc3_1 = info.pc3_2 = 0
    info.pc3_3 = 1
    info.specsys = "BARYCENT"
    info.dispersion_direction = 1  # as in jwst's cubes; extract_1d and jdaviz look for it
    waves = grid.centers.astype(np.float32)
    model.wavetable = np.array([(waves[:, None],)], dtype=[("wavelength", "<f4", (grid.n_wave, 1))])
    if grid.linear:
        info.ctype3 = "WAVE"
        info.crval3, info.crpix3 = grid.centers[0], 1.0
        info.cdelt3 = grid.edges[1] - grid.edges[0]
    else:
        info.ctype3, info.ps3_0, info.ps3_1 = "WAVE-TAB", "WCS-TABLE", "wavelength"
        info.crval3, info.crpix3, info.cdelt3 = 1.0, 1.0, 1.0
        model.wavedim = f"(1,{grid.n_wave:d})"
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * [grid.nx, grid.ny]
    ra, dec = from_plane(
        *(grid.axes @ (0.5 * grid.scale * corners).T), grid.ra_center, grid.dec_center
    )
    polygon = " ".join(f"{r:.9f} {d:.9f}" for r, d in zip(ra, dec, strict=True))
    info.s_region = f"POLYGON ICRS  {polygon}"
    model.meta.coordinates.reference_frame = "ICRS"
    model.meta.wcs = create_fitswcs(model)
    box = [(-0.5, n - 0.5) for n in grid.shape[::-1]]
    if not grid.linear:
        box[2] = (0, grid.n_wave - 1)  # where the table ends: gwcs asks for the corners to invert
    model.meta.wcs.bounding_box = tuple(box)


def _set_correlation(model, correlation):
    """Write the table, its factors for common apertures, and covariances."""
    table = np.array(correlation.table, dtype=model.get_dtype("correlation_table"))
    model.correlation_table = table
    for row in table:
        name = f"correlation_{row['spaxels']}_{row['channels']}"
        if name in KEYWORDS:
            setattr(model.meta.msa3d, name, float(row["factor"]))
    model.covariance = [
        {"channel": c.channel, "row": c.row, "column": c.column, "value": c.value}
        for c in correlation.covariances
    ]


def _exposure_table(source, pattern, voxels, grid, model):
    moves = [
        (*move.along_axes(cutout.footprint), move.across_err, move.along_err, move.kind)
        for cutout, move in zip(
            source.cutouts, source.moves or [Move()] * len(source.cutouts), strict=True
        )
    ]
    samples = np.full((2, len(source.cutouts)), -1) if voxels.samples is None else voxels.samples
    rows = [
        (
            c.file, c.slit, c.detector, c.exposure, c.visit,
            pattern.step[i], pattern.dither[i], pattern.across[i], pattern.along[i],
            pattern.angle[i] % 360, *_place(c.footprint, grid), *moves[i],
            c.exposure_time, c.used, c.rejected, c.outliers, *samples[:, i],
        )
        for i, c in enumerate(source.cutouts)
    ]  # fmt: skip
    return np.array(rows, dtype=model.get_dtype("exposure_table"))


def _place(footprint, grid):
    """Give middle (ra and dec, degrees), width and length (arcsec) of the lit part of a slit."""
    offset, matrix = footprint.to_plane(grid.ra_center, grid.dec_center)
    corners = footprint.corners(offset, matrix)
    ra, dec = from_plane(*corners.mean(axis=0), grid.ra_center, grid.dec_center)
    width, length = np.hypot(*(corners[1] - corners[0])), np.hypot(*(corners[2] - corners[1]))
    return float(ra), float(dec), width, length
