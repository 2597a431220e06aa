"""A regression task on a line with two answers (Kassapis et al. 2021, Section 4.1); a collapsed model gives one.

In the first two fifths y is +0.5 or -0.5; in the next two the answers close in on each other; in the last there is one.
"""

import math
from dataclasses import KW_ONLY, dataclass

import torch

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError


@dataclass(frozen=True)
class BimodalRegression:
    r"""The distribution of eq. (8), with x uniform on [0, 1].

    .. math:: y = \begin{cases} 0.5 - b + \epsilon & x < 0.4 \\ (-1)^b (1 - 1.25 x) + \epsilon & 0.4 \le x < 0.8 \\
       \epsilon & \text{else}\end{cases} \qquad b \sim \mathrm{Bernoulli}(\pi),\ \epsilon \sim \mathcal N(0, \sigma)

    The published code has it mirrored: there the probability is that of the upper answer.

    :param lower: pi, the probability of the lower answer.
    :param noise: sigma, a standard deviation.
    :raises InputError: a probability outside 0 and 1, or noise that is not above 0.
    """

    _: KW_ONLY
    lower: float
    noise: float

    def __post_init__(self):
        if not 0 <= self.lower <= 1 or not self.noise > 0:
            raise InputError(f"expected lower from 0 to 1 and noise above 0; got {self.lower} and {self.noise}.")

    def draw(self, num: int, *, generator: torch.Generator) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
        """Return inputs and answers.

        :param num: the number of inputs.
        :param generator: draws inputs and answers.
        """
        x = torch.rand(num, generator=generator)
        return x, self.answers(x, generator=generator)

    def answers(self, x: Float[Tensor, " p"], *, generator: torch.Generator) -> Float[Tensor, " p"]:
        """Return one answer to each input.

        :param x: the inputs, in [0, 1].
        :param generator: draws the answers.
        """
        is_lower = torch.rand(x.shape, generator=generator) < self.lower
        upper, lower = self.modes(x)
        return torch.where(is_lower, lower, upper) + self.noise * torch.randn(x.shape, generator=generator)

    def modes(self, x: Float[Tensor, "*p"]) -> Float[Tensor, "2 *p"]:
        """Return the upper and the lower answer, without noise; they are one from x = 0.8 on.

        :param x: the inputs, in [0, 1].
        """
        upper = torch.where(x < 0.4, 0.5, (1 - 1.25 * x).clamp(min=0))
        return torch.stack([upper, -upper])

    def mean(self, x: Float[Tensor, "*p"]) -> Float[Tensor, "*p"]:
        """Return the expected answer: what a calibration network with a Gaussian likelihood should learn.

        :param x: the inputs, in [0, 1].
        """
        return (1 - 2 * self.lower) * self.modes(x)[0]

    def log_density(self, y: Float[Tensor, "*p"], x: Float[Tensor, "*p"], *, floor: float = 0.0) -> Float[Tensor, "*p"]:
        """Return log p(y|x).

        :param y: the answers.
        :param x: the inputs, in [0, 1], one for each answer.
        :param floor: is added to the density; 1e-11 as published, so that no answer counts below -25.3.
        """
        shares = torch.tensor([1 - self.lower, self.lower], dtype=x.dtype).view(-1, *[1] * x.ndim)
        scaled = (y - self.modes(x)) / self.noise
        logs = shares.log() - 0.5 * scaled.square() - math.log(self.noise * math.sqrt(2 * math.pi))
        log_density = logs.logsumexp(0)
        if floor == 0:
            return log_density
        return torch.logaddexp(log_density, torch.tensor(math.log(floor), dtype=log_density.dtype))

    def distribution(self, y: Float[Tensor, "*p"], x: Float[Tensor, "*p"]) -> Float[Tensor, "*p"]:
        """Return P(Y <= y | x): uniform on [0, 1] for answers from this distribution, not for a collapsed model's.

        The likelihood does not show it: a model that always gives the likelier answer scores above the truth.

        :param y: the answers.
        :param x: the inputs, in [0, 1], one for each answer.
        """
        upper, lower = torch.special.ndtr((y - self.modes(x)) / self.noise)
        return (1 - self.lower) * upper + self.lower * lower


REGRESSION_SETTINGS = tuple(
    BimodalRegression(lower=lower, noise=noise) for lower in (0.5, 0.6, 0.9) for noise in (0.01, 0.02, 0.03)
)
"""The nine distributions of Fig. 3 (a)."""
