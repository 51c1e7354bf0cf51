"""Point-spread functions made of circular Gaussians whose widths follow the wavelength.

With Gaussians the mean over a slit or a pixel is a difference of error functions, so that nothing
downstream has to be sampled. The default width is a model, not a measurement: the diffraction limit
of the telescope and a fixed blur in quadrature (see `diffraction_fwhm` and `BLUR`).
"""

import importlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.optimize import brentq

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.scene.gaussians import box_average, fit_gaussians, moffat_gaussians

__all__ = ["BLUR", "PSF_NAMES", "Psf", "box_average", "diffraction_fwhm"]

PSF_NAMES = ("gaussian", "moffat", "stpsf")
"""The names that `Psf.named` knows."""

BLUR = 0.05
"""FWHM in arcsec, added in quadrature, of aberrations, jitter and the detector (modelled)."""

_MIRROR = 6.5  # m
_ARCSEC = np.pi / 180 / 3600
_GAUSSIAN_FWHM = np.sqrt(8 * np.log(2))


def diffraction_fwhm(lam):
    """Full width at half maximum of the diffraction-limited telescope.

    ``1.03 lam / D`` with D = 6.5 m, the width of the Airy disk. JWST is diffraction limited
    (Strehl ratio 0.8) beyond 2 um with a FWHM of about ``lam / D`` (JDox, "NIRCam Point Spread
    Functions"; Rigby et al. 2023, PASP 135, 048001).

    Parameters
    ----------
    lam : float or array
        Wavelength in um.

    Returns
    -------
    float or array
        FWHM in arcsec.
    """
    return 1.03 * np.asarray(lam, float) * 1e-6 / _MIRROR / _ARCSEC


@dataclass(frozen=True)
class Psf:
    """A sum of concentric circular Gaussians.

    All widths follow the wavelength as ``sqrt((1.03 lam / D)^2 + blur^2)`` does.

    Parameters
    ----------
    weights : tuple of float
        Share of the light in each Gaussian; scaled to a sum of 1.
    sigmas : tuple of float
        Standard deviation of each in arcsec at the wavelength ``lam``.
    lam : float
        Wavelength in um at which ``sigmas`` hold.
    blur : float
        FWHM in arcsec of what does not follow the wavelength. The default, 0.05", is modelled:
        with it the FWHM is 0.062" at 1.15 um and 0.171" at 5 um.
    name : str
        What the sum stands for, for headers and log lines.
    """

    weights: tuple
    sigmas: tuple
    lam: float = 2.0
    blur: float = BLUR
    name: str = field(default="custom", compare=False)

    def __post_init__(self):
        weights = np.asarray(self.weights, float).ravel()
        sigmas = np.asarray(self.sigmas, float).ravel()
        good = weights.size == sigmas.size > 0 and np.isfinite(weights).all()
        if not (good and (weights >= 0).all() and weights.sum() > 0 and (sigmas > 0).all()):
            raise InputError(
                "the Gaussians of a PSF need as many widths as weights, weights that are not "
                "negative and not all zero, and widths above zero"
            )
        if not (self.lam > 0 and self.blur >= 0):
            raise InputError("a PSF needs a wavelength above zero and a blur of zero or more")
        object.__setattr__(self, "weights", tuple((weights / weights.sum()).tolist()))
        object.__setattr__(self, "sigmas", tuple(sigmas.tolist()))

    @classmethod
    def gaussian(cls, fwhm=None, lam=2.0, blur=BLUR):
        """Make a PSF of one Gaussian.

        Parameters
        ----------
        fwhm : float, optional
            FWHM in arcsec at ``lam``; by default the diffraction limit and the blur in quadrature.
        lam : float
            Wavelength in um of ``fwhm``.
        blur : float
            FWHM in arcsec of what does not follow the wavelength.

        Returns
        -------
        Psf
            The PSF.
        """
        fwhm = np.hypot(diffraction_fwhm(lam), blur) if fwhm is None else fwhm
        return cls((1.0,), (fwhm / _GAUSSIAN_FWHM,), lam, blur, "gaussian")

    @classmethod
    def moffat(cls, fwhm=None, beta=2.5, n_components=10, lam=2.0, blur=BLUR):
        """Make a PSF with the wings of a Moffat profile, ``(1 + (r / alpha)^2)^-beta``.

        See `gaussians.moffat_gaussians` for the method. With the default 10
        components the encircled energy is within 0.0006 of the profile's for beta from 2 to 4.

        Parameters
        ----------
        fwhm : float, optional
            FWHM in arcsec at ``lam``; by default the diffraction limit and the blur in quadrature.
        beta : float
            Exponent of the wings, above 1.
        n_components : int
            How many Gaussians.
        lam : float
            Wavelength in um of ``fwhm``.
        blur : float
            FWHM in arcsec of what does not follow the wavelength.

        Returns
        -------
        Psf
            The PSF; its FWHM is ``fwhm`` exactly.
        """
        if beta <= 1 or n_components < 3:
            raise InputError("a Moffat PSF needs beta above 1 and at least 3 components")
        fwhm = np.hypot(diffraction_fwhm(lam), blur) if fwhm is None else fwhm
        weights, sigmas = moffat_gaussians(beta, n_components)
        psf = cls(tuple(weights), tuple(sigmas), lam, blur, f"moffat beta={beta:g}")
        return replace(psf, sigmas=tuple(np.array(psf.sigmas) * fwhm / psf.fwhm(lam)))

    @classmethod
    def from_image(
        cls, image, pixel_scale, lam, sampled=False, n_widths=16, blur=BLUR, name="image"
    ):
        """Fit a sum of Gaussians to an image of a point source.

        Circular Gaussians around the centroid; see
        `~msa3d_steps.simulate.scene.gaussians.fit_gaussians` for the method and its limits.

        Parameters
        ----------
        image : array
            Image ``(ny, nx)``, in any unit, without background.
        pixel_scale : float
            Size of a pixel in arcsec.
        lam : float
            Wavelength in um of the image.
        sampled : bool
            Whether the image has the brightness at the middle of its pixels, as computed images
            have, rather than the mean over them; in either case the result is free of the pixels.
        n_widths : int
            How many widths to choose from; those without weight are left out.
        blur : float
            FWHM in arcsec of what does not follow the wavelength.
        name : str
            What the image shows.

        Returns
        -------
        Psf
            The PSF; its light adds up to 1 within infinite radius.

        Raises
        ------
        InputError
            If the image is not two-dimensional, not finite, or has no light.
        """
        image = np.asarray(image, float)
        if image.ndim != 2 or not np.isfinite(image).all() or not image.sum() > 0:
            raise InputError("the image of a PSF must be two-dimensional, finite, and have light")
        weights, sigmas = fit_gaussians(image, sampled, n_widths)
        return cls(tuple(weights), tuple(sigmas * pixel_scale), lam, blur, name)

    @classmethod
    def stpsf(cls, lam=2.0, blur=0.0, oversample=4, field_of_view=6.0):
        """Fit a sum of Gaussians to the PSF that STPSF computes for NIRSpec.

        One monochromatic PSF at ``lam``; at other wavelengths its widths follow the diffraction
        limit. STPSF (formerly WebbPSF) is the observatory's own model: Perrin et al. 2014, SPIE
        9143, 91433X. It fetches its data files itself when ``STPSF_PATH`` does not name a folder.

        Parameters
        ----------
        lam : float
            Wavelength in um.
        blur : float
            FWHM in arcsec of what does not follow the wavelength.
        oversample : int
            Samples per detector pixel.
        field_of_view : float
            Side of the computed image in arcsec.

        Returns
        -------
        Psf
            The PSF.

        Raises
        ------
        InputError
            If the package or its data files are missing.
        """
        mend = "; install it with 'pip install stpsf', or choose the PSF 'gaussian' or 'moffat'"
        try:
            nirspec = importlib.import_module("stpsf").NIRSpec()
        except ImportError as err:
            raise InputError(f"the PSF 'stpsf' needs the package stpsf{mend}") from err
        except (OSError, ValueError) as err:
            raise InputError(
                f"stpsf does not find its data files ({err}); download them as its installation "
                "page says and set STPSF_PATH to their folder, or choose 'gaussian' or 'moffat'"
            ) from err
        nirspec.image_mask = None
        images = nirspec.calc_psf(
            monochromatic=lam * 1e-6, oversample=oversample, fov_arcsec=field_of_view
        )
        image = images[0]
        return cls.from_image(
            image.data, image.header["PIXELSCL"], lam, True, blur=blur, name="stpsf"
        )

    @classmethod
    def named(cls, name, lam=2.0):
        """Make the PSF that a user names.

        Parameters
        ----------
        name : str
            One of `PSF_NAMES`.
        lam : float
            Wavelength in um at which STPSF is asked; the others are the same for any.

        Returns
        -------
        Psf
            The PSF.

        Raises
        ------
        InputError
            If there is no such PSF.
        """
        if name not in PSF_NAMES:
            raise InputError(f"there is no PSF {name!r}; choose one of {', '.join(PSF_NAMES)}")
        return getattr(cls, name)(lam=lam)

    def components(self, lam):
        """Weights and widths of the Gaussians.

        Parameters
        ----------
        lam : float or array
            Wavelength in um, of any shape ``(...)``.

        Returns
        -------
        weights : array
            Share of the light in each, ``(k,)``, sum 1.
        sigmas : array
            Standard deviations in arcsec, ``(k, ...)``.
        """
        growth = self._width(lam) / self._width(self.lam)
        return np.array(self.weights), np.multiply.outer(np.array(self.sigmas), growth)

    def fwhm(self, lam):
        """Full width at half maximum.

        Parameters
        ----------
        lam : float or array
            Wavelength in um.

        Returns
        -------
        float or array
            FWHM in arcsec.
        """
        return self._reference_fwhm * (self._width(lam) / self._width(self.lam))

    def profile(self, radius, lam):
        """Surface brightness of a point source of unit flux.

        Parameters
        ----------
        radius : array
            Distance in arcsec, ``(n,)``.
        lam : float
            Wavelength in um.

        Returns
        -------
        array
            1 / arcsec^2, ``(n,)``.
        """
        weights, sigmas = self.components(lam)
        peaks = weights / (2 * np.pi * sigmas**2)
        return np.exp(-0.5 * np.divide.outer(np.asarray(radius, float), sigmas) ** 2) @ peaks

    def encircled_energy(self, radius, lam):
        """Share of the light within a radius.

        Parameters
        ----------
        radius : array
            Distance in arcsec, ``(n,)``.
        lam : float
            Wavelength in um.

        Returns
        -------
        array
            Between 0 and 1, ``(n,)``.
        """
        weights, sigmas = self.components(lam)
        return -np.expm1(-0.5 * np.divide.outer(np.asarray(radius, float), sigmas) ** 2) @ weights

    def _width(self, lam):
        """Return what all widths are proportional to, in arcsec."""
        return np.hypot(diffraction_fwhm(lam), self.blur)

    @cached_property
    def _reference_fwhm(self):
        """FWHM in arcsec at the reference wavelength."""
        half = 0.5 * self.profile(0.0, self.lam)
        upper = _GAUSSIAN_FWHM * max(self.sigmas)
        return 2 * brentq(lambda r: self.profile(r, self.lam) - half, 0, upper, xtol=1e-12)
