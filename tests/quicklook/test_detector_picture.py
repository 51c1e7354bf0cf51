"""The picture of the detector, against slitlets whose place and flags are known."""

import numpy as np
import pytest
from conftest import DATA
from matplotlib.colors import to_rgb
from PIL import Image
from stdatamodels.jwst import datamodels

from msa3d_steps.errors import InputError
from msa3d_steps.quicklook.detector import (
    COLORS,
    UNFLAGGED,
    draw_detector,
    draw_exposure,
    flag_colours,
)
from msa3d_steps.quicklook.exposure import FLAGS, blocks, flag_shares, read_exposure
from msa3d_steps.quicklook.style import drawing

PLACES = {1: (1, 101, 20), 12: (31, 181, 24), 8512: (1, 301, 20)}  # xstart, ystart, rows
COLUMNS = 300


def slit_model(source_id, xstart, ystart, rows):
    """A cutout whose light climbs by two rows, with its own level and flags."""
    slit = datamodels.SlitModel((rows, COLUMNS))
    middle = 9 + np.arange(COLUMNS) // 100
    lit = abs(np.arange(rows)[:, None] - middle) <= 5
    slit.data = np.where(lit, float(source_id), np.nan).astype(np.float32)
    slit.wavelength = np.where(lit, 1.2, np.nan).astype(np.float32)
    dq = np.where(lit, 0, FLAGS["DO_NOT_USE"] + 512)
    dq[8, 10:20] = FLAGS["JUMP_DET"]
    dq[9, 50] = FLAGS["OUTLIER"] + FLAGS["DO_NOT_USE"]
    dq[9, 60:62] = FLAGS["SATURATED"] + FLAGS["DO_NOT_USE"]
    slit.dq = dq.astype(np.uint32)
    slit.source_id, slit.source_name, slit.name = source_id, f"test_{source_id}", str(source_id)
    slit.xstart, slit.ystart, slit.xsize, slit.ysize = xstart, ystart, COLUMNS, rows
    return slit, lit


@pytest.fixture(scope="module")
def exposure():
    """A model of three slitlets, and where their light falls, 0-based, on the whole detector."""
    model, light = datamodels.MultiSlitModel(), np.zeros((2048, 2048), bool)
    for source_id, place in PLACES.items():
        slit, lit = slit_model(source_id, *place)
        model.slits.append(slit)
        x, y = place[0] - 1, place[1] - 1
        light[y : y + len(lit), x : x + COLUMNS] = lit
    model.meta.filename = "jw00001001001_03101_00001_nrs1_cal.fits"
    model.meta.instrument.detector = "NRS1"
    model.meta.instrument.filter, model.meta.instrument.grating = "F100LP", "G140H"
    return model, light


def test_slitlets_are_put_where_they_were(exposure):
    model, light = exposure
    read = read_exposure(model)
    assert read.image.shape == (2048, 2048)
    assert np.array_equal(read.lit, light)
    for source_id, (xstart, ystart, _) in PLACES.items():
        assert read.image[ystart - 1 + 10, xstart - 1 + 150] == source_id
    assert np.isnan(read.image[~light]).all()
    assert [slitlet.label for slitlet in read.slitlets] == ["s1", "s12", "s8512"]
    for slitlet, (xstart, ystart, _) in zip(read.slitlets, PLACES.values(), strict=True):
        outline = slitlet.outline()
        # the light of the first column is in rows 4 to 14, that of the last in rows 6 to 16
        corners = [(0, 3.5), (0, 14.5), (COLUMNS - 1, 5.5), (COLUMNS - 1, 16.5)]
        for corner in np.add(corners, (xstart - 1, ystart - 1)):
            assert abs(outline - corner).sum(axis=1).min() < 1e-9


def test_file_and_model_are_the_same(exposure, tmp_path):
    model, _ = exposure
    path = tmp_path / "x_cal.fits"
    model.save(path)
    first, second = read_exposure(model), read_exposure(path)
    assert np.array_equal(first.image, second.image, equal_nan=True)
    assert np.array_equal(first.dq, second.dq)
    assert (first.detector, first.optics) == (second.detector, second.optics)
    assert first.optics == "F100LP-G140H"
    assert [s.label for s in first.slitlets] == [s.label for s in second.slitlets]


def test_shares_of_flags_are_of_the_lit_pixels(exposure):
    model, light = exposure
    shares = flag_shares(read_exposure(model))
    n = light.sum()
    assert shares == pytest.approx({
        "OUTLIER": 3 / n, "SATURATED": 6 / n, "JUMP_DET": 30 / n, "DO_NOT_USE": 9 / n
    })  # fmt: skip


def test_picture_shows_image_outlines_and_flags_at_their_places(exposure):
    """Colours at flagged pixels are those of the legend, at others of none; names by the light."""
    model, light = exposure
    read = read_exposure(model)
    with drawing():
        figure = draw_detector(read)
        figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    image, flags = figure.axes

    def colour(x, y):
        place = flags.transData.transform((x, y))
        return pixels[pixels.shape[0] - 1 - int(place[1]), int(place[0])]

    for xstart, ystart, _ in PLACES.values():
        x, y = xstart - 1, ystart - 1
        for (row, column), name in {
            (8, 14): "JUMP_DET", (9, 50): "OUTLIER", (9, 60): "SATURATED"
        }.items():  # fmt: skip
            assert np.allclose(colour(x + column, y + row), to_rgb(COLORS[name]), atol=0.006)
        assert np.allclose(colour(x + 150, y + 9), to_rgb(UNFLAGGED), atol=0.006)
        assert np.allclose(colour(x + 150, y + 2), 1)
    legend = [text.get_text() for text in flags.get_legend().get_texts()]
    assert f"JUMP_DET {30 / light.sum():.2%}" in legend
    names = {t.get_text(): t.xy for t in image.texts}
    assert set(names) == {"s1", "s12", "s8512"}
    for (_, ystart, _), (x, y) in zip(PLACES.values(), names.values(), strict=True):
        assert abs(y - (ystart - 1 + 9)) < 1
        assert x < 40
    shown = image.images[0]
    left, right, bottom, top = shown.get_extent()
    array = shown.get_array()
    row = int((300 + 10 - bottom) / (top - bottom) * array.shape[0])
    column = int((150 - left) / (right - left) * array.shape[1])
    assert array[row, column] == 8512


def test_noise_of_the_ends_of_slitlets_does_not_set_the_colours():
    """The ends have 100 times the noise; a trace of 5 and a line of 100 standard deviations."""
    rng = np.random.default_rng(2)
    slit, lit = slit_model(1, 1, 101, 40)
    lit[:] = True
    data = rng.normal(size=lit.shape)
    data[[0, 1, 2, -3, -2, -1]] *= 100
    data[20] += 5
    data[18:23, 100:130] += 100
    slit.data, slit.wavelength = data.astype(np.float32), np.full(lit.shape, 1.2, np.float32)
    slit.dq = np.zeros(lit.shape, np.uint32)
    model = datamodels.MultiSlitModel()
    model.slits.append(slit)
    norm = draw_detector(read_exposure(model)).axes[0].images[0].norm
    noise, trace, line = norm(0.0), norm(5.0), norm(100.0)
    assert norm(1.0) - norm(-1.0) < 0.25
    assert trace - noise > 0.25
    assert line - trace > 0.3
    assert 10 < norm.vmax < 130
    assert -6 < norm.vmin < -2


def test_single_flagged_pixels_are_seen_in_blocks():
    """One of nine pixels gives a third of the colour, whatever the other flags of its block."""
    dq, lit = np.zeros((6, 6), np.uint32), np.ones((6, 6), bool)
    dq[1, 1] = FLAGS["OUTLIER"] + FLAGS["JUMP_DET"]
    dq[3:, 3:] = FLAGS["JUMP_DET"]
    lit[:3, 3:] = False
    colours = flag_colours(dq, lit, (3, 3))
    third = np.array(to_rgb(COLORS["OUTLIER"])) / 3 + np.array(to_rgb(UNFLAGGED)) * 2 / 3
    assert np.allclose(colours[0, 0], third, atol=1e-6)
    assert np.allclose(colours[1, 1], to_rgb(COLORS["JUMP_DET"]), atol=1e-6)
    assert np.allclose(colours[1, 0], to_rgb(UNFLAGGED), atol=1e-6)
    assert np.allclose(colours[0, 1], 1)


def test_blocks_are_averages_of_what_is_there():
    image = np.arange(20.0).reshape(4, 5)
    image[0, 0] = np.nan
    assert np.allclose(blocks(image, (2, 2)), [[4, 5, 6.5], [13, 15, 16.5]])


def test_whole_image_of_a_rate_file(tmp_path):
    model = datamodels.ImageModel((64, 64))
    model.data += np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    dq = np.zeros((64, 64), np.uint32)
    dq[:16] = FLAGS["SATURATED"]
    model.dq = dq
    model.meta.bunit_data = "DN/s"
    read = read_exposure(model)
    assert flag_shares(read)["SATURATED"] == 0.25
    assert not read.slitlets
    assert draw_exposure(model, tmp_path / "a.png") == tmp_path / "a.png"
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1600, 900)


def test_real_cutout(tmp_path):
    """A real slitlet of the prism: its place, and the flags of the pixels that have wavelengths."""
    path = sorted(DATA.glob("*phot*.fits"))[0]
    read = read_exposure(path)
    with datamodels.open(path) as slit:
        lit, dq = np.isfinite(slit.wavelength), slit.dq
    assert np.array_equal(read.lit[658:683, :341], lit)
    assert read.lit.sum() == lit.sum()
    assert flag_shares(read)["DO_NOT_USE"] == pytest.approx(np.mean(dq[lit] & 1))
    assert [s.label for s in read.slitlets] == ["s933"]


def test_what_is_no_exposure_is_refused(tmp_path):
    bad = tmp_path / "x.fits"
    bad.write_text("this is no image")
    with pytest.raises(InputError, match=r"x\.fits: cannot be read as an exposure"):
        draw_exposure(bad, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"gone\.fits.*give a rate, cal or crf file"):
        draw_exposure(tmp_path / "gone.fits", tmp_path / "a.png")
    empty = datamodels.MultiSlitModel()
    empty.meta.filename = "empty_cal.fits"
    with pytest.raises(InputError, match=r"empty_cal\.fits: has no slitlets"):
        draw_exposure(empty, tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["x.fits"]
