"""Exposures that looked elsewhere than they say: offset files, register = self and image."""

import logging
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import asdf
import jwst.cube_build
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scene import Blob, as_model, observe, pattern, sample, slit, source_of, synthetic_template
from scipy.integrate import dblquad

from msa3d_steps import InputError, MSA3DCubeStep
from msa3d_steps.cube.build import build_cube
from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.registration import register as registering
from msa3d_steps.cube.registration.body import WIDTHS, Body, Boxes, see
from msa3d_steps.cube.registration.offsets import moved, read_offsets, write_offsets
from msa3d_steps.cube.registration.profiles import collapse, frame_of
from msa3d_steps.cube.registration.register import RegisterOptions, register
from msa3d_steps.cube.registration.splines import Knots, mean_over, slope_of_mean

pytestmark = pytest.mark.usefixtures("folder")
LOG = "msa3d_steps.cube.registration.register"
STEPS, DITHERS = 7, 3
COSINE = np.cos(np.deg2rad(2.2))


@pytest.fixture(scope="module")
def template():
    template = synthetic_template(shape=(24, 24))
    return template, sample(template.wcs, template.shape, (-2.2, 2.2))


def jitter(own=0.03, step=0.02, seed=0):
    """Pointing errors across and along, arcsec: 30 mas each, 20 mas of each step across."""
    random = np.random.default_rng(seed)
    errors = own * random.standard_normal((STEPS * DITHERS, 2))
    errors[:, 0] += np.repeat(step * random.standard_normal(STEPS), DITHERS)
    return errors


def galaxy(template, number, flux=1.0):
    """A core, a disc that is not round, and a clump: light that no single Gaussian describes."""
    ra, dec = template.source
    random = np.random.default_rng(number)
    angle = random.uniform(0, np.pi)
    places = 0.13 * np.outer([-1.5, -0.5, 0.5, 1.5], [np.cos(angle), np.sin(angle)])
    places = np.vstack([places, [[0, 0]], random.normal(0, 0.2, (1, 2))])
    parts = zip((0.15, 0.25, 0.25, 0.15, 0.12, 0.08), (0.15,) * 4 + (0.06, 0.06), strict=True)
    return [
        Blob(flux * part, ra + x / 3600 / COSINE, dec + y / 3600, sigma)
        for (part, sigma), (x, y) in zip(parts, places, strict=True)
    ]


def observed(template, blobs, errors, *, noise=1e-4, seed=0, told=None):
    """Slits of a survey whose pointings are off by errors that their WCS does not know."""
    template, sampling = template
    random = np.random.default_rng(seed)
    slits = []
    offsets = pattern(STEPS, DITHERS, dither=0.08)
    told = np.zeros_like(errors) if told is None else told
    for number, (offset, error, known) in enumerate(zip(offsets, errors, told, strict=True), 1):
        data = observe(blobs, template.at(*(offset + error))[0], sampling)
        data = data + noise * random.standard_normal(data.shape)
        wcs, pointing = template.at(*(offset + known))
        slits.append(slit(template, wcs, pointing, data, number, error=noise))
    return slits


def as_source(slits, number=933):
    models = [as_model(s) for s in slits]
    return replace(source_of(models), label=f"s{number:09d}", source_id=number)


def offsets_of(source):
    """Moves across and along, arcsec, shape ``(n, 2)``, and their errors."""
    moves = [m.along_axes(c.footprint) for m, c in zip(source.moves, source.cutouts, strict=True)]
    errors = [(m.across_err, m.along_err) for m in source.moves]
    return np.array(moves), np.array(errors)


def cube_of(source, **options):
    grid = GridOptions(scalexy=0.1, coord_system="msaalign", **options)
    return build_cube(source, grid, CombineOptions())


# --- moving exposures, and files that tell by how much


@pytest.mark.parametrize("dec", [2.2, -68.0])
def test_offsets_have_the_sense_of_jwst(template, dec):
    """The same as jwst's cube_build does with SkyCoord, to a microarcsecond."""
    (cutout,) = as_source(observed(template, galaxy(template[0], 1), np.zeros((21, 2)))[:1]).cutouts
    sky = cutout.footprint.sky.copy()
    sky[3] += dec - sky[3].mean()
    cutout = replace(cutout, footprint=replace(cutout.footprint, sky=sky))
    found = moved(cutout, 0.5, -0.3).footprint.sky[2:]
    wanted = SkyCoord(*sky[2:], unit="deg").spherical_offsets_by(0.5 * u.arcsec, -0.3 * u.arcsec)
    assert SkyCoord(*found, unit="deg").separation(wanted).to_value(u.arcsec).max() < 1e-6


def test_offset_file_puts_the_light_where_it_is(template):
    """Offsets of the true pointings give the cube of exposures that know them, to 1e-5."""
    errors = jitter()
    blobs = galaxy(template[0], 1)
    right = cube_of(as_source(observed(template, blobs, errors, told=errors)))
    source = as_source(observed(template, blobs, errors))
    axes = frame_of(source.cutouts).axes
    east, north = (errors @ axes).T
    names = [f"there/{c.file}" for c in source.cutouts]
    tree = {"units": "arcsec", "filename": names, "raoffset": east.tolist(),
            "decoffset": north.tolist()}  # fmt: skip
    asdf.AsdfFile(tree).write_to("offsets.asdf")
    (fixed,) = register([source], RegisterOptions(offset_file="offsets.asdf"))
    place = {"ra_center": right.meta.wcsinfo.crval1, "dec_center": right.meta.wcsinfo.crval2}
    shape = {"nspax_x": right.data.shape[2], "nspax_y": right.data.shape[1]}
    cube, wrong = (cube_of(s, **place, **shape) for s in (fixed, source))
    peak = np.nanmax(right.data)
    np.testing.assert_allclose(cube.data, right.data, atol=1e-5 * peak)
    assert np.nanmax(np.abs(wrong.data - right.data)) > 0.02 * peak
    assert set(cube.exposure_table["offset_from"]) == {"file"}
    np.testing.assert_allclose(cube.exposure_table["across_offset"], errors[:, 0], atol=1e-5)
    np.testing.assert_allclose(cube.exposure_table["along_offset"], errors[:, 1], atol=1e-5)


def test_written_offsets_are_those_of_jwst(template):
    """What is written passes jwst's own schema, and gives the same moves again."""
    source = as_source(observed(template, galaxy(template[0], 1), np.zeros((21, 2)))[:3])
    with pytest.raises(InputError, match="register=image needs"):
        RegisterOptions(method="image").is_sound()
    moves = [registering.Move(0.01 * i, -0.02, kind="self") for i in range(3)]
    source = registering.moved_source(source, moves)
    write_offsets(Path("x_offsets.asdf"), [source])
    schema = Path(jwst.cube_build.__file__).parent / "ifuoffset.schema.yaml"
    with asdf.open("x_offsets.asdf", custom_schema=schema) as file:
        assert file["filename"] == [c.file for c in source.cutouts]
    again = read_offsets("x_offsets.asdf").applied(replace(source, moves=[]))
    assert [(m.east, m.north) for m in again.moves] == [(m.east, m.north) for m in moves]


def test_offsets_are_for_exposures_not_for_stages(template):
    """Offsets of cal files serve a pipeline that starts from rate files."""
    source = as_source(observed(template, galaxy(template[0], 1), np.zeros((21, 2)))[:1])
    name = source.cutouts[0].file.replace("_cal", "_rate")
    asdf.AsdfFile({"units": "arcsec", "filename": [name], "raoffset": [0.1], "decoffset": [0.0]}
                  ).write_to("o.asdf")  # fmt: skip
    assert read_offsets("o.asdf").applied(source).moves[0].east == 0.1


BAD = {
    "missing file": (None, "cannot be read"),
    "no units": ({"units": None}, "has no units"),
    "degrees": ({"units": "deg"}, "must be arcsec"),
    "lengths": ({"raoffset": [0.1, 0.2]}, "two lengths"),
    "text": ({"decoffset": ["x"]}, "no numbers"),
    "not finite": ({"decoffset": [float("nan")]}, "not finite"),
    "other exposure": ({"filename": ["jw1_nrs1_cal.fits"]}, "does not have the exposure jw02136"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_offset_file(template, case):
    """One clear error that names the file."""
    source = as_source(observed(template, galaxy(template[0], 1), np.zeros((21, 2)))[:1])
    change, message = BAD[case]
    if change is not None:
        tree = {"units": "arcsec", "filename": [source.cutouts[0].file], "raoffset": [0.1],
                "decoffset": [0.0]}  # fmt: skip
        tree = {k: v for k, v in (tree | change).items() if v is not None}
        asdf.AsdfFile(tree).write_to("bad.asdf")
    with pytest.raises(InputError, match=message) as caught:
        register([source], RegisterOptions(offset_file="bad.asdf"))
    assert "bad.asdf" in str(caught.value)


# --- what an image of the source is made of


def test_splines():
    """Means over intervals add up to 1, agree with sums and have the right slope."""
    knots = Knots.cover(-0.5, 0.5, 0.06)
    low, high = np.array([-0.31, 0.2]), np.array([-0.12, 0.23])
    mean = mean_over(knots, low, high)
    np.testing.assert_allclose(mean.sum(axis=1), 1, atol=1e-12)
    fine = np.linspace(low[0], high[0], 4001)
    points = mean_over(knots, fine - 1e-4, fine + 1e-4)
    np.testing.assert_allclose(np.trapezoid(points, fine, axis=0) / 0.19, mean[0], atol=1e-6)
    slope = (mean_over(knots, low + 1e-5, high + 1e-5) - mean) / 1e-5
    np.testing.assert_allclose(slope_of_mean(knots, low, high), slope, atol=2e-2)


def test_body():
    """Means of flattened Gaussians over boxes agree with quadrature to 1e-4 of the peak."""
    body = Body(0.03, 0.02, -0.01, 0.3, 0.5)
    boxes = Boxes(*(np.array([v]) for v in (-0.06, 0.136, 0.03, 0.13)))
    found = see(body, boxes)[0]
    for number in (0, 1, 3):
        width = WIDTHS[number]
        covariance = 0.03**2 * np.eye(2) + width**2 * np.array([[1.3, 0.5], [0.5, 0.7]])
        inverse = np.linalg.inv(covariance)
        peak = 1 / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))

        def light(y, x, inverse=inverse, peak=peak):
            d = np.array([x - 0.02, y + 0.01])
            return peak * np.exp(-0.5 * d @ inverse @ d)

        wanted = dblquad(light, -0.06, 0.136, 0.03, 0.13, epsabs=1e-6)[0] / (0.196 * 0.1)
        assert abs(found[number] - wanted) < 1e-4 * peak


def test_collapse_is_the_same_for_all(template):
    """A collapsed row is the brightness over its own pixels, whatever pixels are missing."""
    ra, dec = template[0].source
    line = Blob(0.01, ra, dec, 0.15, 1.05, 0.004)
    source = as_source(observed(template, [*galaxy(template[0], 1), line], np.zeros((21, 2))))
    cutouts = source.cutouts
    frame = frame_of(cutouts)
    profiles, waves = collapse(cutouts, range(21), frame, 1)
    assert 1.0 < waves[0] < 1.1
    random = np.random.default_rng(1)
    holes = [np.where(random.random(c.data.shape) < 0.05, np.nan, c.data) for c in cutouts]
    holed = [replace(c, data=d.astype(np.float32)) for c, d in zip(cutouts, holes, strict=True)]
    others, _ = collapse(holed, range(21), frame, 1)
    brightest = max(p.value.max() for p in profiles)
    for one, other in zip(profiles, others, strict=True):
        near = [np.argmin(np.abs(one.low - low)) for low in other.low]
        assert np.abs(one.value[near] - other.value).max() < 0.06 * brightest


# --- register = self


@pytest.fixture(scope="module")
def registered(template):
    """Three galaxies, seen with the same unknown errors, and what is made of them."""
    errors = jitter(seed=2)
    sources = [
        as_source(
            observed(template, galaxy(template[0], number), errors, noise=0.7, seed=number), number
        )
        for number in (1, 2, 3)
    ]
    return errors, sources, register(sources, RegisterOptions(method="self"))


def test_self_finds_the_offsets(registered):
    """Jitter of 30 mas, 20 mas per step: within a step along to 5 mas and across to 10 mas.

    Three galaxies that three steps see, with a signal to noise of 20 to 30 in the brightest row
    there. What the exposures of a step share across the slits is left alone, and is in the error.
    """
    errors, _, found = registered
    offsets, sigma = offsets_of(found[0])
    middle = np.repeat([False] * 2 + [True] * 3 + [False] * 2, DITHERS)
    known = np.abs(offsets) > 1e-7
    assert known[middle].all()
    assert (sigma[known[:, 1], 1] <= registering.LARGEST_ERROR[1]).all()
    off = offsets - errors
    along = off[known[:, 1], 1]
    weight = sigma[known[:, 1], 1] ** -2
    along = along - (weight * along).sum() / weight.sum()
    assert np.sqrt(np.mean(along**2)) < 0.010
    assert np.sqrt(np.mean(along**2 * weight)) < 1.5
    within, was = ([a[middle, k].reshape(3, DITHERS) for k in range(2)] for a in (off, errors))
    for k, limit in ((0, 0.010), (1, 0.005)):
        assert np.std(within[k] - within[k].mean(axis=1, keepdims=True)) < limit
        assert np.std(was[k] - was[k].mean(axis=1, keepdims=True)) > 0.018
    assert sigma[middle, 0].min() > 0.02


def test_all_sources_get_the_same_offsets(registered):
    _, _, found = registered
    for other in found[1:]:
        np.testing.assert_allclose(offsets_of(other)[0], offsets_of(found[0])[0], atol=1e-9)


def test_sharpness_along_comes_back(template, registered):
    """The second moment along the slits is within 1% of that without jitter."""
    errors, _, found = registered
    blobs = galaxy(template[0], 1)
    clean, source = (
        as_source(observed(template, blobs, e)) for e in (np.zeros_like(errors), errors)
    )
    widths = []
    for one in (clean, registering.moved_source(source, found[0].moves)):
        image = np.nan_to_num(cube_of(one).data).mean(axis=0)
        image = np.clip(image - 0.01 * image.max(), 0, None)
        y = np.arange(image.shape[0])[:, None]
        y = y - (image * y).sum() / image.sum()
        widths.append(np.sqrt((image * y**2).sum() / image.sum()))
    assert abs(widths[1] / widths[0] - 1) < 0.01


def test_faint_source_stays(template, caplog):
    """Noise alone moves nothing, and says so."""
    source = as_source(observed(template, galaxy(template[0], 1, 1e-4), jitter(), noise=0.3))
    with caplog.at_level(logging.WARNING, LOG):
        (found,) = register([source], RegisterOptions(method="self"))
    assert "21 exposures not registered: no source is bright enough" in caplog.text
    assert not any(m.east or m.north or m.kind for m in found.moves)


def test_dim_source_moves_only_what_is_known(template, caplog):
    """Where the error is above 15 mas an exposure stays where it is, with a warning."""
    source = as_source(observed(template, galaxy(template[0], 1), jitter(), noise=2.0))
    with caplog.at_level(logging.WARNING, LOG):
        (found,) = register([source], RegisterOptions(method="self"))
    offsets, sigma = offsets_of(found)
    unknown = ~(sigma[:, 1] <= registering.LARGEST_ERROR[1])
    assert unknown.sum() > 10
    assert np.abs(offsets[unknown, 1]).max() < 1e-7
    assert "not moved along the slits, since the error is above 0.015''" in caplog.text


def test_two_exposures_stay(template, caplog):
    source = as_source(observed(template, galaxy(template[0], 1), jitter())[9:11])
    with caplog.at_level(logging.WARNING, LOG):
        (found,) = register([source], RegisterOptions(method="self"))
    assert "too few to be compared" in caplog.text
    assert not any(m.east or m.north for m in found.moves)


# --- register = image


def picture(blobs, shift=(0.0, 0.0), pixel=0.03, blur=0.02, size=161, scale=7.0, sky=3.0):
    """A direct image of a scene, turned by 25 degrees; shift moves the scene, arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [blobs[0].ra + 0.0001, blobs[0].dec - 0.0001]
    wcs.wcs.crpix = [size / 2, size / 2]
    s, c = np.sin(np.deg2rad(25)), np.cos(np.deg2rad(25))
    wcs.wcs.cd = pixel / 3600 * np.array([[-c, s], [s, c]])
    y, x = np.mgrid[:size, :size]
    ra, dec = wcs.all_pix2world(x, y, 0)
    image = np.full(ra.shape, sky)
    for blob in blobs:
        moved_blob = replace(
            blob, sigma=np.hypot(blob.sigma, blur), ra=blob.ra + shift[0] / 3600 / COSINE,
            dec=blob.dec + shift[1] / 3600,
        )  # fmt: skip
        image += scale * moved_blob.image(ra, dec)
    return image, wcs


def save_picture(name, image, wcs):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image.astype(np.float32), wcs.to_header(), "SCI")]
    fits.HDUList(hdus).writeto(name)
    return name


@pytest.mark.parametrize("blur", [0.02, 0.07])
def test_image_gives_the_place(template, blur):
    """The centroid is that of the image within 10 mas, though the image is 0.12'' away."""
    blobs = galaxy(template[0], 1)
    shift = np.array([0.1, -0.07])
    name = save_picture("field.fits", *picture(blobs, shift, blur=blur))
    source = as_source(observed(template, blobs, jitter(seed=4), noise=0.2))
    (found,) = register([source], RegisterOptions(method="image", image=name))
    assert {m.kind for m in found.moves} == {"self+image"}
    places = [[(b.ra - blobs[0].ra) * 3600 * COSINE, (b.dec - blobs[0].dec) * 3600] for b in blobs]
    wanted = shift + np.average(places, axis=0, weights=[b.flux for b in blobs])
    cube = cube_of(found)
    image = np.nan_to_num(cube.data).mean(axis=0)
    image = np.clip(image - 0.03 * image.max(), 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    x, y = ((image * a).sum() / image.sum() for a in (x, y))
    ra, dec, _ = cube.meta.wcs(x, y, 0)
    place = [(ra - blobs[0].ra) * 3600 * COSINE, (dec - blobs[0].dec) * 3600]
    assert np.hypot(*(np.array(place) - wanted)) < 0.010
    assert np.hypot(*shift) > 0.1


def test_image_without_the_source(template, caplog, monkeypatch):
    """Of an image of another field, or of nothing, no shift is taken."""
    blobs = galaxy(template[0], 1)
    source = as_source(observed(template, blobs, np.zeros((21, 2)), noise=0.2))
    monkeypatch.setattr(registering, "_measure_overlap", lambda *_: None)
    empty, wcs = picture(blobs, scale=0)
    random = np.random.default_rng(1)
    save_picture("empty.fits", empty + random.standard_normal(empty.shape), wcs)
    wcs.wcs.crval = [10, 10]
    save_picture("elsewhere.fits", empty, wcs)
    for name in ("empty.fits", "elsewhere.fits"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, LOG):
            (found,) = register([source], RegisterOptions(method="image", image=name))
        assert f"Not registered on {name}" in caplog.text
        assert not any(m.east or m.north or m.kind for m in found.moves)


def test_what_is_no_image(template):
    source = as_source(observed(template, galaxy(template[0], 1), np.zeros((21, 2)))[:1])
    fits.HDUList([fits.PrimaryHDU()]).writeto("empty.fits")
    fits.PrimaryHDU(np.zeros((4, 4))).writeto("plain.fits")
    Path("text.fits").write_text("no image")
    for name, message in {
        "empty.fits": "no two-dimensional image", "plain.fits": "no celestial WCS",
        "text.fits": "cannot be read", "none.fits": "cannot be read",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=message):
            register([source], RegisterOptions(method="image", image=name))


# --- the step


def test_step_writes_what_it_did(template):
    """Columns and keywords; the offsets that it saves give the same cube again."""
    slits = observed(template, galaxy(template[0], 1), jitter(), noise=0.1)
    models = [as_model(s) for s in slits]
    before = deepcopy([m.meta.wcsinfo.instance for m in models])
    options = {"scalexy": 0.2, "wavemin": 1.01, "wavemax": 1.03}
    (cube,) = MSA3DCubeStep.call(models, register="self", save_offsets=True, **options)
    table = cube.exposure_table
    assert cube.meta.msa3d.register == "self"
    assert cube.meta.msa3d.n_moved > 10
    assert set(table["offset_from"]) == {"self"}
    assert 0.005 < np.nanmedian(np.hypot(table["across_offset"], table["along_offset"])) < 0.1
    assert np.isfinite(table["across_err"]).all()
    assert np.isfinite(table["along_err"]).all()
    (path,) = Path().glob("*_offsets.asdf")
    assert "s000000933" in path.name
    (again,) = MSA3DCubeStep.call(models, offset_file=str(path), **options)
    np.testing.assert_array_equal(again.data, cube.data)
    assert again.meta.msa3d.offset_file == path.name
    (plain,) = MSA3DCubeStep.call(models, **options)
    assert plain.meta.msa3d.register == "none"
    assert np.isnan(plain.exposure_table["across_err"]).all()
    assert [m.meta.wcsinfo.instance for m in models] == before
