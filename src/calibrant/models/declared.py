"""A model whose answers were declared to be probabilities, percent, bytes or sigmoids, made to answer with logits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from calibrant._encoding.to_probabilities import to_probabilities
from calibrant._encoding.value_domain import LOGITS, SCORES
from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.models._answer import answer_of
from calibrant.predictions import from_probabilities


class DeclaredScores(nn.Module):
    """A model that answers with logits, whatever the one inside it answers with.

    What is averaged afterwards, windows and views, is thereby averaged as it is for other models.

    :param model: any callable from images to scores.
    :param answers: what its scores are: logits, probabilities, percent, bytes or sigmoid. One channel of probabilities
        is that of the foreground. Scores said to be logits are taken at their word.
    :raises MethodError: no such kind of scores.

    >>> inside = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Softmax(1))
    >>> images = torch.rand(2, 3, 8, 9)
    >>> torch.allclose(DeclaredScores(inside, "probabilities")(images).softmax(1), inside(images), atol=1e-6)
    True
    """

    scores = LOGITS

    def __init__(self, model: Callable[[Tensor], Any], answers: str):
        super().__init__()
        check_choice(answers, SCORES, "kind of scores")
        self.model, self.answers = model, answers

    def forward(self, images: Float[Tensor, "n k *s"]) -> Float[Tensor, "n c *t"]:
        """Return logits of images.

        :param images: the images, of one size.
        """
        scores = answer_of(self.model, images, scores=self.answers)
        if self.answers == LOGITS:
            return scores
        each = (to_probabilities(one, self.answers, "the model") for one in scores.detach())
        return torch.stack([from_probabilities(one, name="the model") for one in each])
