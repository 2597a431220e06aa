"""Exact marginals over any sampler that scores pixels: its maps, with classes as often as a calibrator says.

What meteorology calls ensemble copula coupling (Schefzik, Thorarinsdottir and Gneiting, 2013): a set of samples keeps
only the order of its scores in each pixel, and gets its classes from the calibrated marginals. For more than two
classes the order is replaced by the assignment of samples to classes of the largest total score, which is the discrete
optimal transport of the scores to the marginals.
"""

from typing import Any

import torch

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators import Calibrator
from calibrant.errors import InputError
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.samplers.sampler import Sampler, check_memory, check_request

SWEEPS = 8
"""How often each class's offset is set anew before samples are assigned; the assignment is nearly the best then."""

_NUMBERS = 2**22
"""Numbers of one block of pixels: samples, times classes, times pixels."""


class Coupled(Sampler):
    """Draw the maps of another sampler, with marginals that are exactly a calibrator's.

    In each pixel the samples of a set are given classes so that the set has each class as often as its probability
    says, and those samples get a class whose scores ask for it most. One number an image, drawn uniformly, decides how
    shares that are no whole numbers of samples are rounded, so that a class is drawn in a pixel exactly as often as its
    probability. The maps of a set are not independent.

    :param sampler: scores pixels: one with a network.
    :param marginals: makes the probabilities that are kept from the logits that :meth:`sample` gets; None keeps the
        logits' own. The sampler sees the logits as they come either way.
    :param set_size: the samples among which the order is taken are at least as many as this; those asked for are a
        random choice of them.
    :param notes: what the fit had to say.
    :raises InputError: the sampler does not score pixels, or the set has fewer than two samples.

    >>> from calibrant.networks import BasisUNet
    >>> from calibrant.samplers import EnergyScoreSampler
    >>> free = EnergyScoreSampler(BasisUNet(2, 2, width=4, depth=1), inputs="probabilities")
    >>> maps = Coupled(free).sample(torch.zeros(1, 2, 6, 7), num_samples=64, generator=torch.Generator())
    >>> maps.double().mean(0).unique()
    tensor([0.5000], dtype=torch.float64)
    """

    draws = "coupled"

    def __init__(
        self,
        sampler: Sampler,
        marginals: Calibrator | None = None,
        *,
        set_size: int = 64,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        if not isinstance(sampler, NetworkSampler) or set_size < 2:
            raise InputError(
                "expected a sampler that scores pixels, such as EnergyScoreSampler or RefinementSampler, and sets of 2 "
                f"samples or more; got {type(sampler).__name__} and set_size={set_size}. IndependentSampler and "
                "CopulaSampler have exact marginals as they are."
            )
        self.sampler, self.marginals, self.set_size = sampler, marginals, set_size
        self.keeps_marginals = marginals is None
        self.requires_grad_(False)

    @torch.no_grad()
    def sample(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int,
        generator: torch.Generator,
    ) -> Int[Tensor, "m n *s"]:
        """Return label maps that are drawn pixel by pixel as often as the marginals say.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; needed if the sampler, or the calibrator, looks at them.
        :param num_samples: how many label maps to draw of each image, m.
        :param generator: where all random numbers come from; the same state gives the same maps.
        """
        check_request(logits, num_samples)
        probs = (logits if self.marginals is None else self.marginals(logits, image)).double().softmax(1)
        number = max(num_samples, self.set_size)
        check_memory((number, *logits.shape), 4, "scores of samples, all of which the order in a pixel needs,")
        blocks = self.sampler.scores(logits, image, num_samples=number, generator=generator)
        scores = torch.cat([block.float() for block in blocks]).flatten(3)  # m n c p
        levels = torch.rand(len(logits), generator=generator, device=generator.device).tolist()
        maps = []
        for i, level in enumerate(levels):
            order = torch.randperm(number, generator=generator, device=generator.device).to(scores.device)
            maps.append(coupled(scores[order, i], probs[i].flatten(1), level)[:num_samples])
        return torch.stack(maps, 1).unflatten(2, logits.shape[2:])

    def arguments(self) -> dict[str, Any]:
        """Return the sampler, the calibrator of the marginals, and the size of a set."""
        return {"sampler": self.sampler, "marginals": self.marginals, "set_size": self.set_size}


def coupled(scores: Float[Tensor, "m c p"], probs: Float[Tensor, "c p"], level: float) -> Int[Tensor, "m p"]:
    """Return the classes of the samples of a set, each class in each pixel as often as :func:`quotas` says.

    Samples whose scores are equal keep their order, so a set in random order is needed for exact marginals.

    :param scores: of each sample, class and pixel.
    :param probs: the marginals, which add up to one in each pixel.
    :param level: from 0 to 1, how shares are rounded.
    """
    (m, c, _), counts = scores.shape, quotas(probs, len(scores), level)
    if c == 2:  # nothing is gathered
        size = max(1, _NUMBERS // (m * c))
        parts = zip(scores.split(size, 2), counts.split(size, 1), strict=True)
        return torch.cat([_by_rank(*part) for part in parts], 1)
    number = (counts > 0).sum(0)
    # In each pixel the classes that any sample gets, then the rest.
    given = (counts == 0).long().argsort(dim=0, stable=True)
    found = torch.empty((m, counts.shape[1]), dtype=torch.long, device=scores.device)
    for n in number.unique().tolist():
        for at in (number == n).nonzero()[:, 0].split(max(1, _NUMBERS // (m * n))):
            classes = given[:n, at]
            if n == 1:
                found[:, at] = classes
                continue
            among = scores.index_select(2, at).gather(1, classes.expand(m, -1, -1))
            assign = _by_rank if n == 2 else _by_offsets
            found[:, at] = classes.gather(0, assign(among, counts[:, at].gather(0, classes)))
    return found


def quotas(probs: Float[Tensor, "c p"], num_samples: int, level: float) -> Int[Tensor, "c p"]:
    """Return how many samples of a set each class gets: its share, rounded up or down, in all as many as there are.

    Systematic rounding: the points (i + level) / m that lie between the cumulated probabilities before and after a
    class. Over a level drawn uniformly from 0 to 1 the mean is the share, exactly.

    :param probs: the marginals, which add up to one in each pixel.
    :param num_samples: m, how many samples there are.
    :param level: from 0 to 1.

    >>> quotas(torch.tensor([[0.3], [0.7]]), 4, 0.1).tolist(), quotas(torch.tensor([[0.3], [0.7]]), 4, 0.5).tolist()
    ([[2], [2]], [[1], [3]])
    """
    ends = (probs.double().cumsum(0) * num_samples - level).ceil().clamp(0, num_samples).long()
    ends[-1] = num_samples
    return ends.diff(dim=0, prepend=torch.zeros_like(ends[:1]))


def _by_rank(scores: Float[Tensor, "m 2 p"], counts: Int[Tensor, "2 p"]) -> Int[Tensor, "m p"]:
    """The second class goes to the samples whose scores favour it most."""
    return (~_first((scores[:, 1] - scores[:, 0]).T.contiguous(), counts[0])).long().T


def _first(values: Float[Tensor, "p m"], counts: Int[Tensor, " p"], *, descending: bool = False) -> Bool[Tensor, "p m"]:
    """Which samples are in each pixel among the first so many by their values; those that tie in their order."""
    order = values.argsort(dim=1, descending=descending, stable=True)
    among = torch.arange(values.shape[1], device=values.device) < counts[:, None]
    return torch.empty_like(among).scatter_(1, order, among)


def _by_offsets(scores: Float[Tensor, "m c p"], counts: Int[Tensor, "c p"]) -> Int[Tensor, "m p"]:
    """Offsets of the classes at which each wins about as often as it shall; then class by class, exactly."""
    _, c, p = scores.shape
    shifted = (scores - scores.logsumexp(1, keepdim=True)).permute(1, 2, 0).contiguous()  # sorted along the last axis
    at = torch.arange(p, device=scores.device)
    for _ in range(SWEEPS):
        swept = _swept(shifted[:, at], counts[:, at])
        shifted[:, at] = swept
        # Where each class wins as often as it shall, another sweep would change no winner.
        won = (swept == swept.amax(0)).sum(2)
        at = at[(won != counts[:, at]).any(0)]
        if len(at) == 0:
            break
    after = _largest_after(shifted)
    free = torch.ones(shifted[0].shape, dtype=torch.bool, device=scores.device)
    classes = torch.full(free.shape, c - 1, dtype=torch.long, device=scores.device)
    for k in range(c - 1):
        margins = torch.where(free, shifted[k] - after[k], -torch.inf)
        taken = _first(margins, counts[k], descending=True)
        classes[taken] = k
        free &= ~taken
    return classes.T


def _swept(shifted: Float[Tensor, "c p m"], counts: Int[Tensor, "c p"]) -> Float[Tensor, "c p m"]:
    """Shift each class in turn so that, as the others are, it wins as often as it shall; written over."""
    m = shifted.shape[2]
    before, after = torch.full_like(shifted[0], -torch.inf), _largest_after(shifted)
    for scores, count, behind in zip(shifted, counts, after, strict=True):
        margins = (scores - torch.maximum(before, behind)).sort(1, descending=True).values
        inside = margins.gather(1, (count - 1).clamp(0, m - 1)[:, None])[:, 0]
        outside = margins.gather(1, count.clamp(0, m - 1)[:, None])[:, 0]
        # Between the last sample that shall have the class and the first that shall not; past the end of the samples
        # where all or none shall.
        middle = torch.where(count == 0, outside + 1, torch.where(count == m, inside - 1, (inside + outside) / 2))
        scores -= middle[:, None]
        before = torch.maximum(before, scores)
    return shifted


def _largest_after(scores: Float[Tensor, "c p m"]) -> list[Float[Tensor, "p m"]]:
    """For each class the largest score of those after it; of the last there is none."""
    found = [torch.full_like(scores[0], -torch.inf)]
    for each in scores[1:].flip(0):
        found.append(torch.maximum(found[-1], each))
    return found[::-1]
