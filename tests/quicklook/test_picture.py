"""What the picture of a cube shows, against what is known of the cube."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import picture_scene as scene
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from matplotlib.collections import PolyCollection
from PIL import Image

from msa3d_steps.quicklook import picture
from msa3d_steps.quicklook.cut import kinematic_axis, slit_cut
from msa3d_steps.quicklook.frame import frame_of
from msa3d_steps.quicklook.images import white_light
from msa3d_steps.quicklook.layout import MAPS
from msa3d_steps.quicklook.style import MASKED, drawing, line_name


def make(view, maps=None, spectrum=None, **more):
    """The figure, not drawn."""
    maps = (scene.disc_maps(view),) if maps is None else maps
    spectrum = scene.spectrum_of(view) if spectrum is None else spectrum
    with drawing():
        return picture.draw_figure(view, maps, spectrum, **more)


def draw(*args, **more):
    """The figure, drawn, and its pixels."""
    figure = make(*args, **more)
    with drawing():
        figure.canvas.draw()
    return figure, np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def panel(figure, name):
    return next(axes for axes in figure.axes if axes.get_label() == name)


def shown_at(figure, axes, index):
    """Where the panel shows a spaxel (row, column), pixels of the figure from its lower left."""
    image = axes.images[-1]
    left, right, bottom, top = image.get_extent()
    rows, columns = image.get_array().shape[:2]
    x = left + (index[1] + 0.5) / columns * (right - left)
    y = bottom + (index[0] + 0.5) / rows * (top - bottom)
    return axes.transData.transform((x, y))


def colour_at(pixels, place):
    return pixels[pixels.shape[0] - 1 - int(place[1]), int(place[0])]


def arrow(axes, name):
    note = next(t for t in axes.texts if t.get_gid() == f"arrow {name}")
    tail, tip = axes.transAxes.transform([note.get_position(), note.xy])
    return (tip - tail) / np.hypot(*(tip - tail))


@pytest.mark.parametrize(
    ("pa", "mirrored"), [(0, False), (0, True), (30, False), (137, True), (250, False)]
)
def test_compass_points_to_where_north_and_east_are_shown(pa, mirrored):
    """A spaxel 1" north of the source is shown in the direction of N; east is left of north."""
    view = scene.disc_view(pa, mirrored, shape=(3, 41, 41))
    figure = make(view, ())
    axes = panel(figure, "white")
    source = axes.transData.transform((0, 0))
    for name, d_ra, d_dec in (("N", 0, 1), ("E", 1 / np.cos(np.deg2rad(scene.DEC)), 0)):
        x, y = view.wcs.wcs_world2pix(scene.RA + d_ra / 3600, scene.DEC + d_dec / 3600, 0)
        way = shown_at(figure, axes, (y, x)) - source
        assert np.allclose(way / np.hypot(*way), arrow(axes, name), atol=0.002)
    north, east = arrow(axes, "N"), arrow(axes, "E")
    assert north[0] * east[1] - north[1] * east[0] == pytest.approx(1, abs=1e-3)  # 90 deg to left
    if pa == 0:
        assert np.allclose(east, [-1, 0], atol=1e-3)
        assert axes.get_xlim()[0] > axes.get_xlim()[1]  # right ascension grows to the left


@pytest.mark.parametrize("mirrored", [False, True])
def test_velocities_are_shown_where_they_are(mirrored):
    """Each good spaxel has the colour of its velocity; masked ones are grey, others white."""
    view = scene.disc_view(mirrored=mirrored)
    maps = scene.disc_maps(view)
    figure, pixels = draw(view, (maps,))
    axes = panel(figure, "velocity")
    half = np.percentile(abs(maps.velocity[maps.mask == 0]), 97) * 1.05
    assert axes.images[-1].get_clim() == pytest.approx((-half, half), rel=1e-6)
    grey, east = float(MASKED), scene.offsets(view)[0]
    on_cut = _near_lines(figure, axes)
    seen = {"good": 0, "masked": 0, "none": 0}
    for index in np.ndindex(maps.mask.shape):
        place = shown_at(figure, axes, index)
        if on_cut(place) or not axes.bbox.shrunk(0.97, 0.97).contains(*place):
            continue
        assert (place[0] < axes.transData.transform((0, 0))[0]) == (east[index] > 0)
        colour = colour_at(pixels, place)
        if maps.mask[index] == 0:
            part = (maps.velocity[index] / half + 1) / 2
            expected, kind = mpl.colormaps["RdBu_r"](part)[:3], "good"
        elif maps.mask[index] & 1:
            expected, kind = (1, 1, 1), "none"
        else:
            expected, kind = (grey, grey, grey), "masked"
        assert np.allclose(colour, expected, atol=0.006), (index, kind)
        seen[kind] += 1
    assert seen["good"] > 50
    assert seen["masked"] > 300
    assert seen["none"] >= 10


def _near_lines(figure, axes):
    """Tell whether a place is near lines and letters of the panel."""
    points = [axes.transData.transform(line.get_xydata()) for line in axes.lines]
    boxes = [t.get_window_extent().padded(4) for t in axes.texts if t.get_text()]

    def near(place):
        for line in points:
            a, b = line[0], line[-1]
            along = np.clip((place - a) @ (b - a) / max((b - a) @ (b - a), 1e-9), 0, 1)
            if np.hypot(*(a + along * (b - a) - place)) < 8:
                return True
        return any(box.contains(*place) for box in boxes)

    return near


@pytest.mark.parametrize("pa", [0, 30, 75])
def test_corners_of_slits_are_right_to_a_milliarcsecond(pa):
    """Corners by great circles from the middles; axes of the panel from the position angle."""
    view = scene.disc_view(pa, shape=(2, 30, 24))
    figure = make(view, ())
    drawn = np.concatenate([
        path.vertices[:4]
        for collection in panel(figure, "slits").collections
        if isinstance(collection, PolyCollection)
        for path in collection.get_paths()
    ])  # fmt: skip
    slits = view.slits
    assert drawn.shape == (6 * 4, 2)  # 3 steps x 2 dithers, both detectors at one place
    source = SkyCoord(view.ra, view.dec, unit="deg")
    expected = []
    for i in range(0, slits.ra.size, 2):
        angle = slits.position_angle[i] * u.deg
        middle = SkyCoord(slits.ra[i], slits.dec[i], unit="deg")
        for across, along in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            corner = middle.directional_offset_by(angle, along * slits.length[i] / 2 * u.arcsec)
            corner = corner.directional_offset_by(
                angle + 90 * u.deg, across * slits.width[i] / 2 * u.arcsec
            )
            east, north = (o.arcsec for o in source.spherical_offsets_to(corner))
            turn = np.deg2rad(pa)
            up = east * np.sin(turn) + north * np.cos(turn)
            right = -east * np.cos(turn) + north * np.sin(turn)
            expected.append((east if pa == 0 else right, up))
    distance = np.hypot(*(drawn[:, None] - np.array(expected)[None]).T)
    assert distance.min(axis=0).max() < 1e-3
    assert distance.min(axis=1).max() < 1e-3


def test_panels_share_their_field_and_the_scale_bar_is_as_long_as_it_says():
    figure = make(scene.disc_view(30))
    maps = [panel(figure, name) for name in MAPS]
    for axes in maps:
        assert axes.get_xlim() == maps[0].get_xlim()
        assert axes.get_ylim() == maps[0].get_ylim()
        unit = np.diff(axes.transData.transform([(0, 0), (1, 1)]), axis=0)[0]
        assert abs(unit[0]) == pytest.approx(unit[1], rel=1e-6)  # an arcsec is an arcsec
    axes = panel(figure, "white")
    bar = next(line for line in axes.lines if line.get_gid() == "scale bar")
    length = np.ptp(axes.transAxes.transform(bar.get_xydata())[:, 0])
    words = next(t.get_text() for t in axes.texts if t.get_text().endswith("\u2033"))
    per_arcsec = abs(np.diff(axes.transData.transform([(0, 0), (1, 0)])[:, 0]))[0]
    assert length / per_arcsec == pytest.approx(float(words[:-1]), rel=1e-6)


def test_no_axis_without_rotation():
    view = scene.disc_view()
    maps = scene.disc_maps(view)
    noise = np.random.default_rng(3).normal(0, 20, maps.velocity.shape)
    still = replace(maps, velocity=np.where(maps.mask == 0, noise, np.nan))
    assert kinematic_axis(still) is None
    assert kinematic_axis(replace(maps, velocity=maps.velocity * np.nan)) is None
    figure = make(view, (still,))
    words = [a.get_xlabel() for a in figure.axes]
    assert "Position along the slits (arcsec)" in words


def _without(view, **more):
    return replace(view, etime=None, slits=None, ra=None, dec=None, name="", **more)


ODD = {
    "nothing": (lambda v: replace(v, data=np.full_like(v.data, np.nan)), "no data"),
    "one channel": (
        lambda v: replace(v, data=v.data[:1], err=v.err[:1], wavelengths=v.wavelengths[:1]),
        "no emission\nline found",
    ),
    "of others": (_without, "not in this cube"),
    "3 x 3": (
        lambda v: replace(
            v, data=v.data[:, 13:16, 10:13], err=v.err[:, :3, :3], etime=v.etime[:, :3, :3]
        ),
        "no emission\nline found",
    ),
    "prism": (
        lambda v: replace(v, wavelengths=np.geomspace(0.6, 5.3, len(v.wavelengths))),
        "no emission\nline found",
    ),
    "tall": (
        lambda v: replace(v, data=np.ones((4, 90, 8)), err=np.ones((4, 90, 8)), etime=None,
                          wavelengths=v.wavelengths[:4]),
        "no emission\nline found",
    ),
    "long": (
        lambda v: replace(v, data=np.ones((4, 8, 100)), err=np.ones((4, 8, 100)), etime=None,
                          wavelengths=v.wavelengths[:4]),
        "no emission\nline found",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_cubes_are_drawn_and_say_what_they_lack(case, tmp_path):
    change, words = ODD[case]
    view = change(scene.disc_view(shape=(40, 30, 24)))
    inside = np.isfinite(view.data).any(axis=0)
    flux = np.where(inside.any(), 1.0, np.nan) * np.ones(len(view.wavelengths))
    spectrum = replace(
        scene.spectrum_of(scene.disc_view()), inside=inside, flux=flux, err=flux,
        wavelengths=view.wavelengths,
    )  # fmt: skip
    figure, _ = draw(view, (), spectrum)
    texts = [t.get_text() for a in figure.axes for t in a.texts]
    assert words in texts
    _nothing_overlaps(figure)


def _nothing_overlaps(figure):
    """All letters are inside the picture; no title, label or note is over another."""
    boxes = []
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        for artist in (
            axes.xaxis.label if axes.axison else None,
            axes.yaxis.label if axes.axison else None,
            *[t for t in axes.texts if t.get_text()],
        ):
            if artist is not None and artist.get_text():
                boxes.append((artist.get_text(), artist.get_window_extent()))
    boxes += [(t.get_text(), t.get_window_extent()) for t in figure.texts]
    frame = figure.bbox
    for i, (words, box) in enumerate(boxes):
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1, words
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1, words
        for other, second in boxes[:i]:
            assert not box.padded(-2).overlaps(second.padded(-2)), (words, other)


def test_lines_are_marked_at_their_wavelengths_and_names_do_not_overlap():
    view = scene.disc_view()
    first = scene.disc_maps(view)
    names = {
        "Halpha+[NII]6548+[NII]6583": 1.3,
        "[NII]6548": 1.3001,
        "Halpha": 1.3005,
        "[NII]6583": 1.301,
        "[SII]6716": 1.311,
    }
    maps = [replace(first, name=n, wavelength=w) for n, w in names.items()]
    figure, _ = draw(view, maps, warnings=["half of the pixels were rejected; " * 8])
    axes = figure.axes[-1]
    for name, wavelength in names.items():
        mark = next(x for x in axes.lines if x.get_gid() == f"mark {line_name(name)}")
        place = axes.transAxes.transform(mark.get_xydata()[0])
        assert axes.transData.inverted().transform(place)[0] == pytest.approx(wavelength, abs=1e-6)
    boxes = sorted((t.get_window_extent() for t in axes.texts), key=lambda box: box.x0)
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    _nothing_overlaps(figure)


@pytest.mark.parametrize("peak", [2.0, 40.0])
def test_marks_are_above_the_lines(peak):
    """On a linear flux axis and on one that is an asinh."""
    view = scene.disc_view()
    maps = (scene.disc_maps(view),)
    spectrum = scene.spectrum_of(view)
    lam = spectrum.wavelengths
    flux = 1 + peak * np.exp(-0.5 * ((lam - scene.WAVELENGTH) / 5e-4) ** 2)
    figure = make(view, maps, replace(spectrum, flux=flux, err=np.full(flux.shape, 0.01)))
    axes = figure.axes[-1]
    assert axes.get_yscale() == ("linear" if peak < 10 else "asinh")
    mark = next(x for x in axes.lines if x.get_gid() == "mark [OIII] 5007")
    high = axes.transAxes.inverted().transform(axes.transData.transform((1.3, flux.max())))[1]
    assert 0.7 < high < mark.get_xydata()[0, 1]


@pytest.mark.parametrize("lines", ["none", "bright", "without light"])
def test_source_beyond_the_edge_of_the_cube(lines):
    """The catalogue has it 0.95 of the width from the middle; cuts go through the middle."""
    view = scene.disc_view()
    ra, dec = view.wcs.wcs_pix2world(11.5 + 0.95 * 24, 14.5, 0)
    view = replace(view, ra=float(ra), dec=float(dec))
    assert frame_of(view).from_source
    maps = () if lines == "none" else (scene.disc_maps(view),)
    if lines == "without light":
        nothing = np.full_like(maps[0].velocity, np.nan)
        maps = (replace(maps[0], velocity=nothing, dispersion=nothing),)
    assert slit_cut(frame_of(view), view.slits).center == (11.5, 14.5)
    figure, _ = draw(view, maps)
    limits = panel(figure, "white").get_xlim()
    assert abs(np.diff(limits))[0] < 1.3 * 30 * view.scale  # of the cube, not of the source


def test_header_says_what_the_cube_is():
    figure = make(scene.disc_view(), warnings=["registration failed"])
    words = " ".join(t.get_text() for t in figure.texts)
    for fact in (
        "s000000001", "test_1", "RA 150.100000\u00b0, Dec +2.300000\u00b0", "F100LP-G140H",
        "z = 1.5958", "[OIII] 5007: (2.000 \u00b1 0.010)\u00d710\u207b\u00b9\u2076", "S/N 200",
        "spaxels of 0.1\u2033", "12 cutouts of 6 pointings", "registration failed",
    ):  # fmt: skip
        assert fact in words


def test_picture_is_whole_or_absent(tmp_path, monkeypatch):
    view = scene.disc_view()
    maps, spectrum, path = [scene.disc_maps(view)], scene.spectrum_of(view), tmp_path / "a.png"
    thumbnail = picture.draw_cube(view, maps, spectrum, path)
    with Image.open(path) as whole:
        whole.load()
        assert whole.size == (1600, 1000)
    before = path.read_bytes()

    def broken(image, file, **more):
        file.write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(OSError, match="no space"):
        picture.draw_cube(view, maps, spectrum, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == before
    assert thumbnail


def test_thumbnail_shows_line_and_velocities_as_on_the_sky():
    """320 pixels wide and small; the receding north-east of the disc is red, above and left."""
    for mirrored in (False, True):
        view = scene.disc_view(mirrored=mirrored, axis_pa=45)
        maps = [scene.disc_maps(view, 45)]
        content = base64.b64decode(picture.draw_thumbnail(view, maps, white_light(view)))
        assert len(content) < 40_000
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        assert pixels.shape[1] == 320
        right = pixels[:, 162:]
        redder = right[..., 0] - right[..., 2]
        red, blue = (np.mean(np.nonzero(m), axis=1) for m in (redder > 60, redder < -60))
        assert (red < blue).all()  # above and left
        assert (abs(right - round(float(MASKED) * 255)).max(axis=-1) <= 2).sum() > 1000


def test_settings_and_threads_of_others_do_not_matter(tmp_path):
    """The same picture with another style, in threads; the style of the user stays."""
    view = scene.disc_view()
    maps, spectrum = [scene.disc_maps(view)], scene.spectrum_of(view)
    picture.draw_cube(view, maps, spectrum, tmp_path / "0.png")
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "image.origin": "upper"}):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(
                lambda n: picture.draw_cube(view, maps, spectrum, tmp_path / f"{n}.png"), (1, 2)
            ))  # fmt: skip
        assert mpl.rcParams["font.size"] == 20
        assert mpl.rcParams["axes.grid"]
    contents = {p.read_bytes() for p in tmp_path.iterdir()}
    assert len(contents) == 1


def test_frame_without_a_source_is_about_the_middle():
    view = _without(scene.disc_view())
    frame = frame_of(view)
    assert not frame.from_source
    assert frame.origin == (11.5, 14.5)
    far = frame_of(replace(scene.disc_view(), ra=scene.RA + 1))
    assert not far.from_source
