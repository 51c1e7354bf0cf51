"""msa3d_quicklook: what it takes, what it writes, and what it says of what it cannot use."""

import json
import re

import numpy as np
import pytest
from astropy.io import fits
from conftest import write_association
from stpipe import Step

from msa3d_steps import (
    IncompleteError,
    InputError,
    MSA3DCubeStep,
    MSA3DQuicklookStep,
    MSACubeModel,
)
from msa3d_steps.simulate.record import read_truth

STEM = "jw09999-o001_s00000000{}_nirspec_f100lp-g140h"
PRODUCTS = ("linemaps.fits", "quicklook.png")


@pytest.fixture(scope="module")
def cubes(simulated, tmp_path_factory):
    """A folder of the cubes of two galaxies about [OIII]."""
    folder = tmp_path_factory.mktemp("cubes")
    members = sorted(str(path) for path in simulated.glob("*_nrs1_cal.fits"))
    asn = write_association(folder, members, STEM.replace("s00000000{}", "{source_id}"))
    MSA3DCubeStep.call(
        str(asn), sources=["1", "2"], wavemin=1.26, wavemax=1.34, save_results=True,
        output_dir=str(folder),
    )  # fmt: skip
    return folder


def look(inputs, output_dir, **options):
    options = {"maximum_cores": "none"} | options
    return MSA3DQuicklookStep.call(inputs, save_results=True, output_dir=str(output_dir), **options)


def rows(folder):
    """The rows of the page, as programs read them."""
    text = (folder / "index.html").read_text(encoding="utf-8")
    (content,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', text, re.S)
    return [row["entry"] for row in json.loads(content)]


def test_a_folder_one_by_one_and_in_processes(cubes, tmp_path):
    """Maps, pictures and rows are the same; the page links to where the cubes are."""
    one = look(str(cubes), tmp_path / "one")
    both = look(str(cubes), tmp_path / "both", maximum_cores="2")
    names = {f"{STEM.format(n)}_{kind}" for n in (1, 2) for kind in PRODUCTS} | {"index.html"}
    for folder in ("one", "both"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == names
    assert rows(tmp_path / "one") == rows(tmp_path / "both")
    for row in rows(tmp_path / "one"):
        assert (tmp_path / "one" / row["cube"]).resolve().parent == cubes.resolve()
        assert row["exposures_rejected"] is None
    for first, second in zip(one, both, strict=True):
        np.testing.assert_array_equal(first.lines[0].velocity, second.lines[0].velocity)


def test_a_model_in_memory_is_mapped_and_nothing_is_written(
    cubes, simulated, tmp_path, monkeypatch
):
    """Redshifts as number, text and table give the same; the cube is not changed."""
    monkeypatch.chdir(tmp_path)
    truth = read_truth(simulated).source(1).redshift
    (tmp_path / "z.csv").write_text(f"source,redshift\n1,{truth}\n")
    found = []
    with MSACubeModel(cubes / f"{STEM.format(1)}_s3d.fits") as cube:
        before = cube.data.copy()
        for redshift in (truth, str(truth), "z.csv", None):
            (maps,) = MSA3DQuicklookStep.call(cube, redshift=redshift, lines=["[OIII]5007"])
            found.append(maps.lines[0].redshift)
        np.testing.assert_array_equal(cube.data, before)
    assert np.ptp(found) < 1e-5
    assert abs(found[0] - truth) / (1 + truth) * 299792 < 20  # km/s
    assert [path.name for path in tmp_path.iterdir()] == ["z.csv"]


def test_a_redshift_in_a_parameter_file_is_a_number(tmp_path):
    path = tmp_path / "quicklook.asdf"
    path.write_text(
        "#ASDF 1.0.0\n#ASDF_STANDARD 1.6.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n"
        "--- !core/asdf-1.1.0\nclass: msa3d_steps.MSA3DQuicklookStep\nname: msa3d_quicklook\n"
        "parameters: {redshift: 1.66}\n...\n"
    )
    assert Step.from_config_file(str(path)).redshift == 1.66


def test_a_broken_cube_costs_the_others_nothing(cubes, tmp_path):
    """It has a row that says why; the exit status tells."""
    for path in cubes.glob("*_s3d.fits"):
        (tmp_path / path.name).symlink_to(path)
    broken = tmp_path / f"{STEM.format(3)}_s3d.fits"
    content = (cubes / f"{STEM.format(1)}_s3d.fits").read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(IncompleteError, match=r"s000000003.*: is cut off \(actual file length"):
        look(str(tmp_path), tmp_path)
    first, second, third = rows(tmp_path)
    assert first["picture"]
    assert second["picture"]
    assert third["title"] == "s000000003"
    assert "is cut off" in third["problems"][0]


def test_products_do_not_take_each_others_place(cubes, tmp_path):
    paths = sorted(map(str, cubes.glob("*_s3d.fits")))
    with pytest.raises(InputError, match="names one product, but there are 2 cubes"):
        look(paths, tmp_path, output_file="mine")
    with pytest.raises(InputError, match="is there 2 times"):
        look([paths[0], paths[0]], tmp_path)
    assert not list(tmp_path.iterdir())
    look(paths[0], tmp_path, output_file="mine", page=False)
    assert {path.name for path in tmp_path.iterdir()} == {f"mine_{kind}" for kind in PRODUCTS}


def test_what_is_not_as_it_was_wanted_is_on_the_page(cubes, simulated, tmp_path):
    """A redshift at which there is no line, a line outside of the data."""
    path = str(cubes / f"{STEM.format(1)}_s3d.fits")
    look(path, tmp_path, redshift=2.6, pictures=False)
    (row,) = rows(tmp_path)
    found = read_truth(simulated).source(1).redshift
    match = re.fullmatch(
        r"no line at the given redshift 2\.6; ([\d.]+) found instead", row["warnings"][0]
    )
    assert float(match.group(1)) == pytest.approx(found, abs=5e-4)
    look(path, tmp_path, lines=["Ha", "1.3"], pictures=False)
    (row,) = rows(tmp_path)
    assert row["warnings"][0].startswith("Ha is not in the data (1.26")
    with fits.open(tmp_path / f"{STEM.format(1)}_linemaps.fits") as file:
        assert file["FLUX", 1].header["WAVELEN"] == 1.3


@pytest.mark.parametrize(
    ("text", "said"),
    [("-5", "redshift is -5; give a number"), ("nan", "redshift is nan"), ("none.csv", "neither")],
)
def test_redshifts_that_are_none(cubes, tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        look(str(cubes), tmp_path, redshift=text)


def test_a_table_without_the_columns(cubes, tmp_path):
    (tmp_path / "z.csv").write_text("name,z\n1,1.6\n")
    with pytest.raises(InputError, match=r"z\.csv: has no column 'source'"):
        look(str(cubes), tmp_path, redshift=str(tmp_path / "z.csv"))


def test_what_is_neither_cube_nor_exposure(tmp_path):
    with pytest.raises(InputError, match="has no cubes"):
        look(str(tmp_path), tmp_path)
    fits.PrimaryHDU().writeto(tmp_path / "x.fits")
    with pytest.raises(InputError, match=r"x\.fits: holds no data model, neither a cube nor"):
        look(str(tmp_path / "x.fits"), tmp_path)
