"""Label maps whose marginals are exactly the calibrator's probabilities, by construction, and coherent all the same.

A class is drawn in pixel i by the Gumbel trick, with noise that neighbours share:

.. math:: y_i = \\arg\\max_k\\,[\\log q_k(i) + g_k(i)], \\quad g_k = -\\log(-\\log \\Phi(\\zeta_k)), \\quad
   \\zeta_k(i) = \\sum_l a_l\\,\\eta_{lk}(i), \\quad \\sum_l a_l^2 = 1

Each field eta has variance one in every pixel, and those of different classes and levels are independent. So zeta_k(i)
is standard normal and g_k(i) standard Gumbel, whatever the weights a, and P(y_i = k) = q_k(i): a copula (Sklar, 1959)
settles how pixels depend on each other, and only that.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators import Calibrator
from calibrant.errors import InputError
from calibrant.predictions import Predictions
from calibrant.samplers._fields import IMAGE, PIXELS, REGIONS, Fields, Level, cut
from calibrant.samplers._fit_variances import fit_variances
from calibrant.samplers.sampler import Sampler, check_request


class CopulaSampler(Sampler):
    """Draw label maps from a mixture of Gaussian fields behind each class; no network is run.

    The numbers are shares of the variance, a_l² above; they are scaled to add up to one. With ``image=1`` alone and
    two classes, each map cuts the probabilities at one level drawn uniformly from 0 to 1.

    :param image: variance of the component that is constant over the image (one draw a class and image).
    :param regions: variance of the component that is constant over each connected region of the most likely class
        (one draw a class and region), so that objects vary independently.
    :param cells: variances of smooth components by the distance in pixels over which they vary, as ``{16: 0.2}``, so
        that boundaries move in parts.
    :param pixels: variance of white noise (one draw a class and pixel).
    :param notes: what the fit had to say.
    :raises InputError: a variance below 0, all of them 0, or a cell below 2 pixels.

    >>> sampler = CopulaSampler(image=0.8, cells={16: 0.2})
    >>> maps = sampler.sample(torch.zeros(1, 2, 20, 30), num_samples=4, generator=torch.Generator())
    >>> maps.shape
    torch.Size([4, 1, 20, 30])
    >>> sampler
    CopulaSampler(image=0.8, cells={16: 0.2})
    """

    keeps_marginals = True

    def __init__(
        self,
        *,
        image: float = 0.0,
        regions: float = 0.0,
        cells: Mapping[int, float] | None = None,
        pixels: float = 0.0,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        cells = {int(size): float(share) for size, share in (cells or {}).items()}
        smooth = {Level("cells", size): share for size, share in cells.items()}
        shares = {IMAGE: float(image), REGIONS: float(regions), **smooth, PIXELS: float(pixels)}
        total = sum(shares.values())
        if not all(0 <= share < math.inf for share in shares.values()) or total <= 0 or min(cells, default=2) < 2:
            raise InputError(
                "expected shares of the variance, each 0 or more and one above, and cells of 2 pixels or more; got "
                f"image={image}, regions={regions}, cells={cells}, pixels={pixels}. "
                "CopulaSampler(image=1.0) is one level an image, CopulaSampler(pixels=1.0) independent pixels."
            )
        self.shares = {level: share / total for level, share in shares.items()}

    def sample(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int,
        generator: torch.Generator,
    ) -> Int[Tensor, "m n *s"]:
        """Return label maps that are drawn pixel by pixel as often as softmax(logits) says.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; ignored by samplers that do not look at them.
        :param num_samples: how many label maps to draw of each image, m.
        :param generator: where all random numbers come from; the same state gives the same maps.
        """
        check_request(logits, num_samples)
        used = {level: share for level, share in self.shares.items() if share > 0}
        log_probs = logits.float().log_softmax(1)
        fields = Fields(logits, tuple(used))
        return torch.cat([cut(log_probs, used, block) for block in fields.in_blocks(num_samples, generator)])

    def arguments(self) -> dict[str, Any]:
        """Return the shares of the variance."""
        return self._named(self.shares)

    def extra_repr(self) -> str:
        """Return the shares that are not zero."""
        named = self._named({level: round(share, 3) for level, share in self.shares.items() if share > 0})
        return ", ".join(f"{name}={value}" for name, value in named.items() if value != {})

    @staticmethod
    def _named(shares: Mapping[Level, float]) -> dict[str, Any]:
        """Shares by the names of the constructor."""
        cells = {level.size: share for level, share in shares.items() if level.over == "cells"}
        return {level.over: share for level, share in shares.items() if level.over != "cells"} | {"cells": cells}

    @classmethod
    def fit(
        cls,
        predictions: Predictions,
        calibrator: Calibrator | None = None,
        *,
        cells: Iterable[int] = (32, 8),
        classes: Iterable[int] | None = None,
        empty: str = "one",
        num_samples: int = 24,
        num_images: int = 64,
        seed: int = 0,
    ) -> "CopulaSampler":
        r"""Return the sampler whose maps come nearest to those of the annotators.

        The shares are searched by moving parts from level to level, so that the mean over images of the energy score
        (Gneiting and Raftery, 2007) falls,

        .. math:: 2\,E\,d(s, y) - E\,d(s, s'), \quad d = 1 - \mathrm{IoU}

        which is the energy distance to the annotators, but for what they alone decide, so one annotator is enough.
        Only the dependence between pixels is fitted: the marginals are the calibrator's at any shares.

        :param predictions: images labelled by one annotator or more; they are read several times.
        :param calibrator: makes the probabilities; None takes the logits as they are.
        :param cells: sizes of smooth fields that may get a share, in pixels.
        :param classes: those whose IoU counts, such as ``[1]`` for the foreground; by default all.
        :param empty: the IoU of two empty regions; see :class:`~calibrant.metrics.HypothesisDistances`.
        :param num_samples: how many label maps are drawn of each image for the score.
        :param num_images: how many images are drawn at random for the fit; one at a time is in memory.
        :param seed: the seed of the choice of images and of their samples.
        :raises FitError: no image has a labelled pixel.
        """
        shares = fit_variances(
            predictions,
            calibrator,
            levels=(IMAGE, REGIONS, *(Level("cells", size) for size in cells), PIXELS),
            classes=None if classes is None else list(classes),
            empty=empty,
            num_samples=num_samples,
            num_images=num_images,
            seed=seed,
        )
        return cls(**cls._named(shares))
