"""From a cube alone the command that made it, which makes the same cube again bit for bit."""

import json
import shutil
import warnings
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from commands import strun_here
from conftest import write_association
from scene import Blob, as_model, pattern, survey
from stdatamodels.jwst import datamodels

from msa3d_steps import MSA3DCubeStep, MSACubeModel
from msa3d_steps.association import cli, rebuild
from msa3d_steps.errors import InputError

PRODUCT = "jw02136-o001_{source_id}_nirspec_f100lp-g140m"
CUBE = "jw02136-o001_s000000933_nirspec_f100lp-g140m_s3d.fits"
PIXELS = ("SCI", "ERR", "DQ", "WMAP", "ETIME", "NEXP")


@pytest.fixture(scope="module")
def cals(synthetic, tmp_path_factory):
    """A folder of 2 x 2 exposures of two sources, with noise, and its association."""
    folder = tmp_path_factory.mktemp("cals")
    template, sampling = synthetic
    random = np.random.default_rng(4)
    names = []
    for slit in survey(
        template, pattern(2, 2), [Blob(1.0, *template.source, 0.15)], sampling=sampling
    ):
        slit.data += np.float32(0.01 * random.standard_normal(slit.data.shape))
        exposure = datamodels.MultiSlitModel()
        first = as_model(slit)
        exposure.update(first)
        exposure.meta.wcs = None
        for number in (933, 34):
            one = first.copy()
            one.source_id, one.source_name = number, f"1345_{number}"
            exposure.slits.append(one)
        exposure.meta.ref_file.area.name = "crds://jwst_nirspec_area_0017.fits"
        exposure.meta.ref_file.crds.context_used = "jwst_1464.pmap"
        names.append(slit.meta.filename)
        exposure.save(str(folder / names[-1]))
    Table(
        {"wavelength": [0.9, 1.3], "brightness": [0.1, 0.2], "uncertainty": [0.01, 0.01]},
        units={"wavelength": "um", "brightness": "MJy/sr", "uncertainty": "MJy/sr"},
    ).write(folder / "sky.ecsv")
    return write_association(folder, names, PRODUCT)


@pytest.fixture(scope="module")
def by_step(cals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_step")
    options = ("--scalexy=0.08", "--slit_frac=0.9", "--weighting=ivm", "--wavemin=1.05")
    assert strun_here("msa3d_cube", cals, f"--output_dir={folder}", *options) == 0
    return folder / CUBE


@pytest.fixture(scope="module")
def by_pipeline(cals, tmp_path_factory):
    """With a background from a file, and without pathloss; one of the sources."""
    folder = tmp_path_factory.mktemp("by_pipeline")
    options = (
        "--sources=933", "--maximum_cores=none", "--steps.cube.coord_system=msaalign",
        "--steps.cube.wavemin=1.1", "--steps.pathloss.skip=true", "--steps.outlier.snr=3",
        "--steps.quicklook.skip=true",
        "--steps.background.skip=false", "--steps.background.method=model",
        f"--steps.background.spectrum={cals.parent / 'sky.ecsv'}",
    )  # fmt: skip
    assert strun_here("msa3d_spec3", cals, f"--output_dir={folder}", "--save_results=true",
                      *options) == 0  # fmt: skip
    return folder / CUBE


def provenance(path):
    with MSACubeModel(path) as cube:
        return json.loads(json.dumps(cube.meta.msa3d.provenance.instance))


def asn_of(cube, *arguments):
    return cli.main(["--from-cube", str(cube), *map(str, arguments)])


@pytest.mark.parametrize("made", ["by_step", "by_pipeline"])
def test_same_cube_again(made, cals, tmp_path, request, capsys):
    """Run as it is written, bit for bit; the cube itself stays where it is."""
    cube = request.getfixturevalue(made)
    before = cube.read_bytes()
    assert asn_of(cube, cals.parent, "-o", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "!" not in printed
    command = printed.splitlines()[-1].removeprefix("next").split()
    assert command[0] == "strun"
    assert strun_here(command[1], f"--output_dir={tmp_path / 'again'}") == 0
    with fits.open(cube) as one, fits.open(tmp_path / "again" / CUBE) as other:
        for name in PIXELS:
            np.testing.assert_array_equal(one[name].data, other[name].data)
        assert np.isfinite(one["SCI"].data).any()
    assert len(list((tmp_path / "again").glob("*_s3d.fits"))) == 1
    assert cube.read_bytes() == before
    again, first = provenance(tmp_path / "again" / CUBE), provenance(cube)
    assert again["exposures"] == first["exposures"]
    assert again["files"] == first["files"]


def test_what_is_told(by_pipeline):
    """Class, all parameters, exposures with sizes, files, reference files, versions."""
    found = provenance(by_pipeline)
    assert found["class"] == "msa3d_steps.MSA3DSpec3Pipeline"
    assert found["source"] == "s000000933"
    steps = {step["name"]: step["parameters"] for step in found["steps"]}
    assert list(steps) == ["pathloss", "background", "outlier", "cube", "quicklook"]
    assert steps["cube"]["coord_system"] == "msaalign"
    assert steps["cube"]["slit_frac"] == 1.0  # the default
    assert steps["outlier"]["snr"] == 3.0
    assert steps["pathloss"]["skip"] is True
    names = [f"jw02136001001_03101_{n:05d}_nrs1_cal.fits" for n in (1, 2, 3, 4)]
    assert [entry["name"] for entry in found["exposures"]] == names
    assert all(entry["size"] > 1e5 for entry in found["exposures"])
    (file,) = found["files"]
    assert (file["parameter"], file["name"]) == ("background.spectrum", "sky.ecsv")
    assert found["references"]["area"] == ["crds://jwst_nirspec_area_0017.fits"]
    assert found["references"]["crds.context_used"] == ["jwst_1464.pmap"]
    assert {"msa3d-steps", "jwst", "stpipe", "numpy", "python"} <= found["versions"].keys()


def test_stock_software_reads_it(by_pipeline):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with datamodels.open(by_pipeline) as cube:
            assert type(cube) is datamodels.IFUCubeModel
            found = cube.meta.msa3d.instance["provenance"]
            assert found["class"] == "msa3d_steps.MSA3DSpec3Pipeline"
            assert len(found["exposures"]) == 4


def test_run_file_of_one_source_makes_all(by_step, cals, tmp_path):
    """Without its sources it makes the other one, too, with a name of its own."""
    assert asn_of(by_step, cals.parent, "-o", tmp_path) == 0
    (run_file,) = tmp_path.glob("*_again.asdf")
    with asdf.open(run_file) as file:
        assert file["parameters"]["sources"] == ["s000000933"]
    cubes = MSA3DCubeStep.call(str(run_file), output_dir=str(tmp_path), sources=["933", "34"])
    assert [c.meta.filename for c in cubes] == [CUBE.replace("933", "034"), CUBE]


def test_exposures_beside_the_cube(by_step, cals, tmp_path, capsys, monkeypatch):
    """Without a folder they are looked for beside the cube, and one level down."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cubes").mkdir()
    cube = shutil.copy(by_step, tmp_path / "cubes")
    (tmp_path / "cubes" / "cals").symlink_to(cals.parent)
    assert asn_of(cube) == 0
    assert "4 files, all of them found" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*_again.asdf"))) == 1


def test_missing_exposures(by_step, cals, tmp_path, capsys):
    """They are named, the run file is written all the same, and the exit status is 1."""
    folder = tmp_path / "cals"
    shutil.copytree(cals.parent, folder)
    gone = sorted(folder.glob("*_cal.fits"))[1]
    gone.unlink()
    assert asn_of(by_step, folder, "-o", tmp_path) == 1
    printed = capsys.readouterr().out
    assert "4 files, 3 of them found" in printed
    assert f"! not found in {folder}: {gone.name}; name the folders" in printed
    (association,) = tmp_path.glob("*_asn.json")
    members = json.loads(association.read_text())["products"][0]["members"]
    assert [m["expname"] for m in members][1] == gone.name


def test_exposure_that_has_changed(by_pipeline, cals, tmp_path, capsys):
    """A file of the same name and another size is taken, with a word; so is one of parameters."""
    folder = tmp_path / "cals"
    shutil.copytree(cals.parent, folder)
    changed = sorted(folder.glob("*_cal.fits"))[0]
    with changed.open("ab") as file:
        file.write(bytes(2880))
    assert asn_of(by_pipeline, folder, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "! another size than when the cube was made" in printed
    assert changed.name in printed
    assert asn_of(by_pipeline, folder, cals.parent, "--dry-run") == 0  # the right one is there
    assert "another size" not in capsys.readouterr().out


def test_other_versions(by_step, cals, monkeypatch):
    now = provenance(by_step)["versions"] | {"jwst": "9.9.9"}
    monkeypatch.setattr("msa3d_steps.association.from_cube.package_versions", lambda: now)
    (problem,) = rebuild(by_step, [cals.parent]).problems
    assert problem.startswith("made with jwst 3.")
    assert "(here 9.9.9)" in problem


def test_cube_of_models(cals, tmp_path):
    """Of models in memory nobody knows what was done to them: that is said."""
    paths = sorted(cals.parent.glob("*_cal.fits"))
    models = [datamodels.open(path) for path in paths]
    cube = MSA3DCubeStep.call(models, sources=["34"], wavemin=1.1)[0]
    cube.save(str(tmp_path / "x_s3d.fits"))
    found = rebuild(tmp_path / "x_s3d.fits", [cals.parent])
    assert [m.name for m in found.members] == [p.name for p in paths]
    assert "made of models in memory" in found.problems[0]


def test_names_that_are_taken(by_step, cals, tmp_path, capsys):
    assert asn_of(by_step, cals.parent, "-o", tmp_path) == 0
    assert asn_of(by_step, cals.parent, "-o", tmp_path) == 1
    assert "is there already; give --overwrite" in capsys.readouterr().err
    assert asn_of(by_step, cals.parent, "-o", tmp_path, "--overwrite") == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none_s3d.fits", "there is no such file"),
        ("text_s3d.fits", "is no cube that can be read"),
        ("plain_s3d.fits", "does not tell how it was made"),
    ],
)
def test_what_is_no_cube_of_ours(tmp_path, name, message):
    (tmp_path / "text_s3d.fits").write_text("text")
    datamodels.IFUCubeModel(np.zeros((2, 3, 4), np.float32)).save(str(tmp_path / "plain_s3d.fits"))
    with pytest.raises(InputError, match=message) as caught:
        rebuild(tmp_path / name)
    assert Path(caught.value.problem.file).name == name


def test_folders_or_a_cube(capsys):
    with pytest.raises(SystemExit):
        cli.main([])
    assert "name folders of exposures" in capsys.readouterr().err


def test_registered_cube(cals, tmp_path, capsys):
    """Exposures that were registered on both sources are so again: all cubes are made."""
    options = ("--register=self", "--wavemin=1.05", f"--output_dir={tmp_path}")
    assert strun_here("msa3d_cube", cals, *options) == 0
    assert asn_of(tmp_path / CUBE, cals.parent, "-o", tmp_path) == 0
    assert "registered on all sources" in capsys.readouterr().out
    (run_file,) = tmp_path.glob("*_again.asdf")
    assert strun_here(run_file, f"--output_dir={tmp_path / 'again'}") == 0
    for name in (CUBE, CUBE.replace("933", "034")):
        with fits.open(tmp_path / name) as one, fits.open(tmp_path / "again" / name) as other:
            np.testing.assert_array_equal(one["SCI"].data, other["SCI"].data)
