"""How much noise is shared at which level: a search over shares that add up to one, judged by a proper score."""

import logging
from collections.abc import Sequence

import torch

from calibrant._input.checks import check_labelled
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant._statistics.generators import generator_for
from calibrant._statistics.left_out import Gain
from calibrant.calibrators import Calibrator, calibrated
from calibrant.errors import InputError
from calibrant.metrics import HypothesisDistances, sample_diversity
from calibrant.predictions import Prediction, Predictions, Subset
from calibrant.samplers._fields import Fields, Level, cut

log = logging.getLogger("calibrant")

Point = tuple[float, ...]
"""Shares of the levels, adding up to one."""

_STEPS = (0.3, 0.1, 0.03)

MAX_MOVES = 100
"""Moves at each step length after which the search goes on, real gain or not; a few are usual."""

LEAST_GAIN = 1e-6
"""A move that lowers the mean score by no more than this ends the search at a step."""


def fit_variances(
    predictions: Predictions,
    calibrator: Calibrator | None,
    *,
    levels: Sequence[Level],
    classes: Sequence[int] | None,
    empty: str,
    num_samples: int,
    num_images: int,
    seed: int,
) -> dict[Level, float]:
    """Return the share of each level. All points are judged on the same images and the same draws.

    It starts at the best single level and moves parts from one level to another. A move is taken if it lowers the mean
    score by more than chance would explain (:class:`calibrant._statistics.left_out.Gain`); from one image, no move is.
    """
    if num_samples < 2:
        raise InputError(f"expected 2 samples or more, which can differ from each other; got {num_samples}.")
    order = torch.randperm(len(predictions), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = Subset(predictions, sorted(order[:num_images]))

    def look(points: Sequence[Point]) -> Float[Tensor, "points images"]:
        columns = [
            _energy_scores(prediction, calibrator, levels, points, classes, empty, num_samples, seed)
            for prediction in chosen
            if bool((prediction.labels != IGNORE).any())
        ]
        scores = torch.stack(columns, 1) if columns else torch.empty(len(points), 0)
        scores = scores[:, scores.isfinite().all(0)]
        check_labelled(scores.shape[1], len(chosen))
        return scores

    corners = [tuple(float(i == j) for j in range(len(levels))) for i in range(len(levels))]
    scores = look(corners)
    best = int(scores.mean(1).argmin())
    point, here = corners[best], scores[best]
    for step in _STEPS:
        for _ in range(MAX_MOVES):
            moves = _moves(point, step)
            scores = look(moves)
            best = int(scores.mean(1).argmin())
            gain = Gain.of(here.tolist(), scores[best].tolist())
            if not gain.is_real or gain.mean <= LEAST_GAIN:
                break
            point, here = moves[best], scores[best]
            fractions = ", ".join(f"{level} {share:.2f}" for level, share in zip(levels, point, strict=True))
            log.info("copula: %s, energy score %.4f", fractions, float(here.mean()))
    return dict(zip(levels, point, strict=True))


def _moves(point: Point, step: float) -> list[Point]:
    """Return the points reached by moving a part, or all that is left, from one level to another."""
    found = []
    for source, held in enumerate(point):
        for target in range(len(point)):
            part = min(step, held)
            if source == target or part <= 1e-9:
                continue
            moved = list(point)
            moved[source] -= part
            moved[target] += part
            found.append(tuple(moved))
    return found


def _energy_scores(
    prediction: Prediction,
    calibrator: Calibrator | None,
    levels: Sequence[Level],
    points: Sequence[Point],
    classes: Sequence[int] | None,
    empty: str,
    num_samples: int,
    seed: int,
) -> Float[Tensor, " points"]:
    """Return the energy score of one image at each point, all from the same fields."""
    logits = calibrated(prediction, calibrator)[None].float()
    generator = generator_for(seed, prediction.key)
    log_probs = logits.log_softmax(1)
    blocks = list(Fields(logits, tuple(levels)).in_blocks(num_samples, generator))
    scores = []
    for point in points:
        shares = {level: share for level, share in zip(levels, point, strict=True) if share > 0}
        maps = torch.cat([cut(log_probs, shares, block) for block in blocks])
        distances = HypothesisDistances.of(
            maps, prediction.labels[None], num_classes=logits.shape[1], classes=classes, empty=empty
        )
        crossed = (distances.to_labels.mean(1) * distances.label_weights).sum(1)
        scores.append(2 * crossed - sample_diversity(distances))
    return torch.cat(scores)
