"""The plan of a pattern has the areas, times and gaps that can be worked out by hand."""

import dataclasses
import logging
import sys
import time

import numpy as np
import pytest
from scipy.special import ndtr

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.cli import main
from msa3d_steps.simulate.config import GRATINGS, Survey, _to_sky
from msa3d_steps.simulate.detector.exposing import NoiseModel, expose
from msa3d_steps.simulate.plan.coverage import arrange, core_of, gap_widths
from msa3d_steps.simulate.plan.picture import compass
from msa3d_steps.simulate.plan.plan import Range, draw_plan, line_depth, make_plan, tabulate
from msa3d_steps.simulate.plan.slitlets import ShutterSize
from msa3d_steps.simulate.plan.table import warnings_of
from msa3d_steps.simulate.references.calibration import uniform_pathloss
from msa3d_steps.simulate.references.throughput import conversion, find_grating
from msa3d_steps.simulate.scene.render import FWHM, LSF_PIXELS
from msa3d_steps.simulate.scene.sources import Line, PointSource, Scene

SHUTTER = ShutterSize.from_optics()
PATTERNS = {
    "default": {},
    "GO-2136": {"steps": 9, "dithers": 7, "dither": 0.075},
    "one exposure": {"steps": 1, "dithers": 1},
    "one shutter": {"shutters": 1},
    "an even number of shutters": {"shutters": 4},
    "far steps": {"step": 1.0},
    "far dithers": {"dither": 4.0},
    "all overlap": {"step": 0.01, "dither": 0.01},
    "jitter": {"jitter": 0.03},
}


def plan_of(**options):
    return make_plan(Survey(**options))


def weighted(maps):
    """Integral of the exposure time over the sky, s arcsec2."""
    return (maps.time * np.diff(maps.y)[:, None] * np.diff(maps.x)).sum()


def words(plan):
    return " ".join(warnings_of(plan))


def test_shutters_have_the_documented_size_on_the_sky():
    # the real exposures: 0.1958 wide, 0.4575 high; 105 x 204 um pitch is 0.27 x 0.53 arcsec
    assert SHUTTER.width == pytest.approx(0.1958, rel=0.005)
    assert SHUTTER.height == pytest.approx(0.4575, rel=0.01)
    assert SHUTTER.pitch / SHUTTER.height == pytest.approx(203.5 / 177, rel=1e-3)
    assert SHUTTER.bar == pytest.approx(0.0685, abs=0.001)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_exposure_time_is_neither_lost_nor_made(pattern):
    survey = Survey(**pattern)
    plan = make_plan(survey)
    area = survey.shutters * SHUTTER.width * SHUTTER.height
    expected = survey.n_exposures * survey.exposure_time * area
    cells = arrange(plan.slitlets)
    assert weighted(plan.fine) == pytest.approx(expected, rel=1e-9)
    assert weighted(plan.spaxels) == pytest.approx(expected, rel=1e-9)
    assert (cells.counts * cells.areas()).sum() * survey.exposure_time == pytest.approx(
        expected, rel=1e-3
    )
    assert plan.total_time == survey.n_exposures * survey.exposure_time


def test_steps_of_a_slit_width_cover_the_core_evenly():
    plan = plan_of(shutters=1, step=SHUTTER.width, dithers=3, dither=0.1, exposure_time=700.0)
    assert dataclasses.astuple(plan.time) == (2100, 2100, 2100)
    assert plan.gaps.total == pytest.approx(0, abs=1e-5)
    x0, x1, y0, y1 = plan.core
    assert (x1 - x0, y1 - y0) == pytest.approx((5 * SHUTTER.width, SHUTTER.height - 0.2))
    assert plan.spaxel_time.least == pytest.approx(2100, rel=1e-9)
    assert plan.spaxel_dithers.least == plan.spaxel_dithers.most == 3
    assert warnings_of(plan) == []
    assert "No gaps, and even coverage." in tabulate(plan)


def test_steps_of_half_a_slit_width_double_the_time():
    whole = plan_of(shutters=1, step=SHUTTER.width, dithers=2, dither=0.1)
    half = plan_of(shutters=1, step=SHUTTER.width / 2, steps=9, dithers=2, dither=0.1)
    assert half.time.least == half.time.most == 2 * whole.time.median == 7200
    assert half.depth.brightness == pytest.approx(whole.depth.brightness / np.sqrt(2), rel=0.01)
    assert half.core[0] == pytest.approx(half.field[0] + SHUTTER.width / 2)


def test_steps_wider_than_the_slit_leave_what_they_leave():
    plan = plan_of(shutters=1, dithers=1, step=0.25)
    gap = 0.25 - SHUTTER.width
    share = 4 * gap / (1 + SHUTTER.width)
    assert share == pytest.approx(0.182, abs=0.001)
    assert plan.gaps.between_slits == plan.gaps.total == pytest.approx(share, rel=1e-4)
    assert plan.gaps.sliver == plan.gaps.widest_sliver == pytest.approx(gap, abs=2e-6)
    text = "The steps of 0.25 arcsec leave 0.054 arcsec between slits of 0.196 arcsec: 18.2% of"
    assert text in words(plan)


def test_bars_hide_what_is_not_dithered():
    single, pitch, dithered = (
        plan_of(step=0.19, dithers=n, dither=d) for n, d in ((1, 0.1), (2, SHUTTER.pitch), (3, 0.1))
    )
    height = 4 * SHUTTER.pitch + SHUTTER.height
    assert single.gaps.total == pytest.approx(4 * SHUTTER.bar / height, rel=1e-4)
    assert single.gaps.total == single.gaps.bars
    assert pitch.gaps.bars == pytest.approx(5 * SHUTTER.bar / (height + SHUTTER.pitch), rel=1e-4)
    assert pitch.gaps.bar == pytest.approx(SHUTTER.bar, abs=2e-6)
    assert dithered.gaps.bars == 0
    assert "The bars between shutters hide 10.7% of the field" in words(single)
    assert "hide" not in words(dithered)


def test_shadows_of_bars_are_those_of_the_calibration():
    plan = plan_of(steps=1, dithers=1, exposure_time=1000.0)
    opened = plan.fine.x.size // 2
    middle_of_bar = np.searchsorted(plan.fine.y, 0.5 * SHUTTER.pitch) - 1
    middle_of_shutter = np.searchsorted(plan.fine.y, 0.0) - 1
    profile = plan.fine.shadowed_time[:, opened]
    assert profile[middle_of_bar] == pytest.approx(800, abs=10)  # a bar takes 20%
    assert profile[middle_of_shutter] == pytest.approx(1000, abs=1)
    assert profile[0] < 600  # half of the light at the outer edge
    assert "The shadows of the bars are not dithered out" in words(plan)
    even = plan_of(steps=1, dithers=7, dither=0.075)
    assert even.shadow.most - even.shadow.least < 0.05
    assert "shadows" not in words(even)


def test_dithers_longer_than_the_slitlet_are_told():
    plan = plan_of(step=0.19, dithers=3, dither=4.0)
    height = 4 * SHUTTER.pitch + SHUTTER.height
    assert plan.gaps.between_dithers == pytest.approx(2 * (4 - height) / (8 + height), rel=1e-4)
    assert "longer than the slitlet" in words(plan)


def test_overlaps_are_unequal_coverage():
    plan = plan_of(shutters=1, dithers=1, step=0.15, steps=9)
    overlap = SHUTTER.width - 0.15
    assert plan.time.most == 2 * plan.time.median == 3600
    assert plan.uneven_share == pytest.approx(8 * overlap / (10 * 0.15 - SHUTTER.width), rel=0.01)
    assert "Unequal coverage" in words(plan)
    assert "overlap by 45.7 mas, 23% of their width" in tabulate(plan)


def test_pointing_errors_are_those_of_the_survey():
    survey = Survey(jitter=0.05, steps=6, dithers=1)
    plan = make_plan(survey)
    across, along = survey.offsets()[1].T
    point = np.random.default_rng(5).uniform(*np.reshape(plan.field, (2, 2)).T, (4000, 2))
    shutters = SHUTTER.pitch * np.arange(-2, 3)
    seen = np.abs(point[:, :1] - across) < SHUTTER.width / 2
    place = np.abs(point[:, 1, None, None] - along[:, None] - shutters) < SHUTTER.height / 2
    count = (seen & place.any(axis=2)).sum(axis=1)
    cells = arrange(plan.slitlets)
    column = np.searchsorted(cells.x, point[:, 0]) - 1
    row = np.searchsorted(cells.y, point[:, 1]) - 1
    assert (cells.counts[row, column] == count).mean() > 0.999
    assert plan.gaps.total == pytest.approx((count == 0).mean(), abs=0.025)
    assert plan.gaps.total > make_plan(dataclasses.replace(survey, jitter=0.0)).gaps.total + 0.05
    assert "with pointing errors of 0.05 arcsec rms leave" in words(plan)


def test_exposures_and_dithers_of_cells_are_counted():
    plan = plan_of(shutters=1, step=0.1, steps=3, dithers=2, dither=0.2)
    middle = plan.spaxels.exposures.shape[0] // 2, plan.spaxels.exposures.shape[1] // 2
    # slits at -0.1, 0 and 0.1 are 0.196 wide: all touch the middle spaxel, from -0.05 to 0.05
    assert plan.spaxels.exposures[middle] == 6
    assert plan.spaxels.dithers[middle] == 2
    assert plan.spaxels.dithers[0].max() == 1


@pytest.mark.parametrize("grating", GRATINGS)
def test_line_at_the_limit_has_five_sigma(grating):
    survey = Survey(grating=grating, exposure_time=1300.0)
    lam = {"PRI": 3.0, "G14": 1.4, "G23": 2.4, "G39": 4.0}[grating[:3]]
    response = float(conversion(lam, grating, survey.filter) * uniform_pathloss(lam, 3)) * 0.95
    sky = float(Scene((), survey.zodiacal).background(lam))
    model = NoiseModel(dead_fraction=0.0, hot_fraction=0.0, noise=False)
    rate = np.full((2048, 2048), response * sky, np.float32)
    sigma = float(np.nanmedian(expose(rate, 1300.0, "NRS1", model).err)) / response
    one_pixel = 1300.0 * 0.1958 * 0.1045 / 0.1**2
    depth = line_depth(survey, lam, one_pixel, 0.95, "11x11")
    source = PointSource(1, 0.0, 0.0, lines=(Line("line", lam, depth.brightness),))
    width = float(find_grating(grating, survey.filter).pixel_bandwidth(lam))
    peak = source.line_brightness(source.lines[0]) / width  # of one arcsec2, MJy/sr
    edges = np.arange(-20, 21) - 0.5 + np.linspace(0, 1, 11)[:-1, None]
    share = np.diff(ndtr(edges * FWHM / LSF_PIXELS), axis=1)
    ratio = peak / sigma * np.sqrt((share**2).sum(axis=1).mean())
    assert ratio == pytest.approx(5.0, rel=0.01)


def test_ranges_and_gaps_of_known_numbers():
    assert dataclasses.astuple(Range.of([5, 1, 9, 3], [0, 1, 1, 3])) == (1, 3, 9)
    assert Range.of([0, 2]).ratio == np.inf
    unseen = np.array([[True, False, True, False, True], [False, True, True, True, False]])
    edges = np.array([0, 1, 3, 6, 10, 15.0])
    assert sorted(gap_widths(unseen, edges)) == [3, 9]
    assert core_of(np.array([0.0]), 0.0, 1.0) == (-0.5, 0.5)
    assert core_of(np.array([0.0, 0.5, 1.0]), 0.0, 1.0) == pytest.approx((0.0, 1.0))
    assert core_of(np.array([0.0, 0.1, 0.2]), 0.01, 1.0) == pytest.approx((-0.29, 0.49))


def test_hundreds_of_exposures_are_no_trouble():
    start = time.process_time()
    plan = plan_of(steps=30, dithers=30, jitter=0.03, shutters=7)
    assert time.process_time() - start < 15  # 1 s on a machine of 2024, whatever else it does
    assert plan.survey.n_exposures == 900
    assert plan.spaxel_time.median == pytest.approx(
        30 * 1800 * 7 * SHUTTER.height / (30 * 0.175 * 0.2 / SHUTTER.width), rel=0.05
    )


def test_a_pattern_out_of_all_reason_is_refused():
    with pytest.raises(InputError, match="far more than a source; give smaller steps"):
        plan_of(step=1e6)


def test_the_table_has_a_unit_on_every_line_and_fits_a_terminal():
    lines = tabulate(plan_of(step=0.25, jitter=0.01)).splitlines()
    assert "15 exposures of 1800 s: 27000 s = 7.50 h, without overheads" in "\n".join(lines)
    assert any("modelled" in line for line in lines)
    units = ("arcsec", " s ", "um", "%", "mas", "exposures", "dithers", "MJy/sr")
    assert all(any(unit in line for unit in units) for line in lines if line)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_pictures_are_drawn(pattern, tmp_path):
    from matplotlib.image import imread

    plan = plan_of(**pattern)
    path = draw_plan(plan, tmp_path / "plan.png")
    picture = imread(path)
    assert picture.shape[:2] == (1032, 1512)
    left = picture[120:600, 100:440, :3]  # the slits: some of it is orange
    orange = (np.abs(left - (0.84, 0.37, 0.0)) < 0.2).all(axis=-1)
    assert orange.mean() > 0.003
    assert [p.name for p in tmp_path.iterdir()] == ["plan.png"]


@pytest.mark.parametrize("angle", [0.0, 30.0, -120.0])
def test_the_compass_points_as_the_survey_does(angle):
    # a place above the middle of the map is along the slits, one to the left of it is across them
    for right, up in ((0.0, 1.0), (-1.0, 0.0)):
        east, north = _to_sky(-right, up, angle)
        directions = np.array(compass(angle))
        assert directions @ (right, up) == pytest.approx([north, east])


def test_pictures_that_cannot_be_are_refused(tmp_path, monkeypatch):
    plan = plan_of(steps=1, dithers=1)
    with pytest.raises(InputError, match="no picture can have this ending; give a name"):
        draw_plan(plan, tmp_path / "plan.fits")
    with pytest.raises(InputError, match="there is no folder"):
        draw_plan(plan, tmp_path / "nowhere" / "plan.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install msa3d-steps\[pictures\]"):
        draw_plan(plan, tmp_path / "plan.png")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def loggers():
    """Give the loggers back as they were."""
    found = [logging.getLogger(name) for name in (None, "msa3d_simulate", "msa3d_steps")]
    before = [(log.level, list(log.handlers), log.propagate) for log in found]
    yield
    for log, (level, handlers, propagate) in zip(found, before, strict=True):
        log.level, log.handlers, log.propagate = level, handlers, propagate


@pytest.mark.usefixtures("loggers")
def test_the_command_plans(tmp_path, capsys):
    picture = tmp_path / "x.png"
    assert main(["--plan", str(picture), "--steps", "4", "--step", "0.25", "--seed", "3"]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    said = "".join(capsys.readouterr())
    assert "4 steps of 0.25 arcsec across the slit x 3 dithers" in said
    assert "! The steps of 0.25 arcsec leave 0.054 arcsec" in said
    assert str(picture) in said
    assert main(["--plan", str(tmp_path / "no" / "x.png")]) == 1
    assert "there is no folder" in capsys.readouterr().err
