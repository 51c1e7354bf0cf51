"""The cube builder as an stpipe step."""

import logging
import math
import time

from jwst.datamodels import ModelContainer

from msa3d_steps.cube.build import build_cube
from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.inputs import Collection, Selection, collect_sources, find_members
from msa3d_steps.cube.inverse.solve import check_options as check_inverse
from msa3d_steps.cube.naming import product_stem
from msa3d_steps.cube.provenance import Origin, provenance_of
from msa3d_steps.cube.registration.offsets import write_offsets
from msa3d_steps.cube.registration.register import RegisterOptions, register
from msa3d_steps.cube.sources import Source
from msa3d_steps.errors import InputError, Problem
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.parameters import command_of
from msa3d_steps.progress import Bar
from msa3d_steps.tasks import number_of_cores
from msa3d_steps.words import counted

__all__ = ["MSA3DCubeStep"]

log = logging.getLogger(__name__)

FLOATS = (
    "scalexy", "scalew", "wavemin", "wavemax", "cube_pa", "ra_center", "dec_center",
    "slit_frac", "pixfrac", "clip_snr", "smoothing",
)  # fmt: skip


class MSA3DCubeStep(MSA3DStep):
    """Build one spectral cube for each source of a slit-stepping survey."""

    class_alias = "msa3d_cube"

    key = None
    """What a pipeline writes into the cubes to know them by."""

    origin = None
    """The command that makes the cubes, where a pipeline of ours gives it; else `_origin`."""

    spec = """
    sources = force_list(default=None) # Sources to build, by label (s000000933), number or name; all if not given
    background_slits = boolean(default=False) # Build cubes of background slits (b...) too
    virtual_slits = boolean(default=False) # Build cubes of virtual slits (v...) too
    scalexy = float(min=0, default=0.0) # Size of a spaxel, arcsec; 0 for the height of a detector pixel (method=linear: a quarter of it)
    scalew = float(min=0, default=0.0) # Size of a channel, um; 0 for the native dispersion (method=linear: the finest)
    wavemin = float(default=None) # Least wavelength, um; that of the data if not given
    wavemax = float(default=None) # Largest wavelength, um; that of the data if not given
    linear_wave = boolean(default=None) # Channels of one size; if not given, for gratings yes, for the prism no
    coord_system = option('skyalign', 'msaalign', 'world', default='skyalign') # North up (skyalign, world) or y along the slits (msaalign)
    cube_pa = float(default=None) # Position angle of the y axis, degrees east of north; overrides coord_system
    ra_center = float(default=None) # Right ascension of the middle of the cube, degrees
    dec_center = float(default=None) # Declination of the middle of the cube, degrees
    nspax_x = integer(min=1, default=None) # Number of spaxels in x, rounded up to be odd
    nspax_y = integer(min=1, default=None) # Number of spaxels in y, rounded up to be odd
    method = option('drizzle', 'linear', 'inverse', default='drizzle') # Pixels are shared out among the voxels that they cover (drizzle), or voxels are interpolated between them (linear); or the cube that explains the exposures is solved for (inverse; experimental)
    smoothing = float(min=0.005, default=None) # With method=inverse, length over which the solution is smoothed, arcsec; chosen by the data if not given
    weighting = option('drizzle', 'exptime', 'ivm', 'median', 'clipped', default='drizzle') # Weight of a pixel: equal, exposure time, or inverse read-noise variance; or median over the exposures of a step, or mean without outliers
    clip_snr = float(min=0, default=4.0) # With weighting=clipped, standard deviations by which an exposure may differ from the others at a voxel
    slit_frac = float(default=1.0) # Part of the slit width that a pixel's light is dropped into, above 0, at most 1
    pixfrac = float(default=1.0) # The same for the height of the pixel along the slit
    offset_file = string(default=None) # ASDF file of the offsets of the exposures: filename, raoffset, decoffset, units (arcsec), as for jwst's cube_build
    register = option('none', 'self', 'image', default='none') # Measure the offsets of the exposures: from their overlap (self), and all of them together against an image (image)
    image = string(default=None) # With register=image, a FITS image with a celestial WCS
    save_offsets = boolean(default=False) # Write the offsets of the exposures as an offset_file (suffix offsets)
    covariance = boolean(default=False) # Write the covariance of the spaxels of single channels
    covariance_wave = float_list(default=None) # Wavelengths of these channels, um; the middle of the range if not given
    maximum_cores = string(default='half') # Cores for threads. Can be an integer, 'none', 'quarter', 'half', or 'all'
    output_use_model = boolean(default=True) # Use the file names in the cubes
    suffix = string(default='s3d') # Suffix of the cubes
    """  # noqa: E501

    def process(self, inputs):
        """Build the cubes: one for each source and disperser.

        Parameters
        ----------
        inputs : str, pathlib.Path, dict, list, ModelContainer, ModelLibrary, JwstDataModel, Source
            Association, exposures (cal or s2d), or their models, or the cutouts of one source.

        Returns
        -------
        `~jwst.datamodels.ModelContainer` of `~msa3d_steps.MSACubeModel`
            One cube for each source. The input is not changed.

        Raises
        ------
        InputError
            Where no cube could be made.
        """
        grid_options, combine_options = self._options()
        register_options = RegisterOptions(self.offset_file, self.register, self.image).is_sound()
        if isinstance(inputs, Source):
            product, collection = None, Collection([inputs])
        else:
            members = find_members(inputs)
            selection = Selection(
                tuple(self.sources or ()), self.background_slits, self.virtual_slits
            )
            product, collection = members.product, collect_sources(members, selection)
        self.problems.extend(collection.problems)
        collection.sources = self._register(collection.sources, product, register_options)
        origin = self.origin or self._origin(product)
        cubes = ModelContainer()
        with Bar("cubes", len(collection.sources)) as bar:
            while collection.sources:  # each source is let go when its cube is made
                source = collection.sources.pop(0)
                cube = self._build(source, grid_options, combine_options)
                bar.step(source.title)
                if cube is not None:
                    cube.meta.filename = self._file_name(source, product)
                    cube.meta.msa3d.key = self.key
                    cube.meta.msa3d.provenance = provenance_of(source, origin)
                    cubes.append(cube)
        if not len(cubes):
            self._give_up(collection)
        return cubes

    def _register(self, sources, product, options):
        """Move the exposures to where they looked, as far as that is known or can be measured."""
        if not (options.changes and sources):
            return sources
        sources = register(sources, options)
        together = list(dict.fromkeys(m for source in sources for m in source.members))
        for source in sources:  # the cube of each depends on all of them
            source.members = together
        if self.save_offsets:
            stem = product_stem(sources[0], self.asked_stem(), product)
            if len(sources) > 1:
                stem = stem.replace(f"_{sources[0].label}", "")
            path = self.output_folder() / f"{stem}_offsets.asdf"
            write_offsets(path, sources)
            log.info("Saved offsets in %s", path)
        return sources

    def _origin(self, product):
        """Tell the command: this step, or the pipeline that it is in, as a member or a hook."""
        return Origin(command_of(self.outermost()), self.asked_stem() or product)

    def _options(self):
        """Check the parameters that the spec cannot check."""
        for name in ("slit_frac", "pixfrac"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0, at most 1")
        for name in FLOATS:
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} is {value}; it must be a number")
        threads = number_of_cores(self.maximum_cores)
        if (self.ra_center is None) != (self.dec_center is None):
            raise InputError("ra_center and dec_center go together; give both or neither")
        shape = {}
        for name in ("nspax_x", "nspax_y"):
            number = getattr(self, name)
            shape[name] = number if number is None or number % 2 else number + 1
            if shape[name] != number:
                log.info("%s is rounded up from %d to %d, to be odd", name, number, shape[name])
        grid_options = GridOptions(
            scalexy=self.scalexy or None,
            scalew=self.scalew or None,
            wavemin=self.wavemin,
            wavemax=self.wavemax,
            linear_wave=self.linear_wave,
            coord_system="skyalign" if self.coord_system == "world" else self.coord_system,
            cube_pa=self.cube_pa,
            ra_center=self.ra_center,
            dec_center=self.dec_center,
            sampled=self.method == "linear",
            **shape,
        )
        asked = self.covariance or self.covariance_wave
        covariance = tuple(self.covariance_wave or ()) if asked else None
        combine_options = CombineOptions(
            self.weighting, self.slit_frac, self.pixfrac, self.clip_snr, covariance, threads,
            self.method, self.smoothing,
        )  # fmt: skip
        if self.method == "inverse":
            check_inverse(combine_options)
        return grid_options, combine_options

    def _build(self, source, grid_options, combine_options):
        """Build the cube of one source; None where that fails, with the problem noted."""
        start = time.perf_counter()
        try:
            cube = build_cube(source, grid_options, combine_options)
        except InputError as err:
            problem = Problem(f"source {source.title}: {err.problem}")
            log.error("%s", problem)  # noqa: TRY400 - the message says it all
        except Exception as err:  # a fault in one source must not cost the others their cubes
            problem = Problem(f"source {source.title}: {type(err).__name__}: {err}")
            log.exception("Source %s has no cube", source.title)
        else:
            found, shape = cube.meta.msa3d, cube.data.shape
            log.info(
                "%s: %s, %s x %s -> %d x %d spaxels x %d channels, %.1f s",
                source.title, counted(found.n_cutouts, "cutout"), counted(found.n_steps, "step"),
                counted(found.n_dithers, "dither"),
                shape[2], shape[1], shape[0], time.perf_counter() - start,
            )  # fmt: skip
            return cube
        self.problems.append(problem)
        return None

    def _file_name(self, source, product):
        """Name the product as Spec3 names its own: product, source, suffix."""
        stem = product_stem(source, self.asked_stem(), product)
        return f"{stem}_{self.suffix}{self.output_ext}"

    def _give_up(self, collection):
        """Raise the error for a run that made nothing."""
        if self.problems:
            raise InputError("no cube could be made: " + "; ".join(map(str, self.problems)))
        kinds = ", ".join(source.label for source in collection.left_out) or "no slits"
        raise InputError(
            f"no cube could be made: there is only {kinds}; ask for background or virtual slits "
            "with background_slits, virtual_slits or sources"
        )
