"""How ``predict`` opens a model and its images: in this process, and again in each worker of an engine.

What is opened need not be such that it can be sent (sessions of ONNX cannot): the recipe is sent, and a worker opens it
once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """All options of ``predict`` that answers depend on; fields are named as its options are.

    :param views: how the model sees an image.
    """

    model: str
    data: Path
    dataset: str
    split: str | None
    class_names: str
    ignore_index: int | None
    first_label: int | None
    image_folder: str | None
    label_folder: str | None
    divide_by: float | None
    palette: Path | None
    scores: str | None
    limit: int | None
    resolution: str
    views: Any
    normalise: str | None
    device: str
    precision: str
    batch: int
    trust: bool

    def opened(self) -> tuple[Any, Any]:
        """Open the model and the images; the cheaper of the two first, so that a wrong path is reported at once."""
        from calibrant.cli._datasets import OWN
        from calibrant.cli.import_ import names_in
        from calibrant.models import open_model

        published = None
        if self.dataset not in OWN or self.class_names:
            published = self._read(names_in(self.class_names))
        opened = open_model(
            self.model,
            device=self.device,
            trust_code=self.trust,
            normalise=self.normalise,
            resolution=self.resolution,
        )
        return opened, self._read(names_of(opened)) if published is None else published

    def _read(self, class_names: Sequence[str]) -> Any:
        from calibrant.cli._datasets import open_examples

        return open_examples(
            self.dataset,
            self.data,
            split=self.split,
            class_names=class_names,
            ignore_index=self.ignore_index,
            first_label=self.first_label,
            images=self.image_folder,
            labels=self.label_folder,
            divide_by=self.divide_by,
            palette=self.palette,
            trust_code=self.trust,
        )

    def answers(self, opened: Any, examples: Any) -> Any:
        """Return the source of what the model answers.

        :param opened: the model.
        :param examples: the images.
        """
        from calibrant.models import BlockPredictions, DeclaredScores
        from calibrant.predictions import Subset

        some: Any = (
            examples if self.limit is None or self.limit >= len(examples) else Subset(examples, range(self.limit))
        )
        run = self.views.around(opened.run if self.scores is None else DeclaredScores(opened.run, self.scores))
        return BlockPredictions(
            run,
            some,
            batch_size=self.batch,
            resolution=self.resolution,
            device=self.device,
            precision=self.precision,
        )

    def shard_size(self, total: int) -> int:
        """Return how many images a worker gets at a time: whole batches, which follow from the images' numbers.

        :param total: how many images there are.
        """
        from calibrant.predictions import default_shard_size

        return -(-default_shard_size(total) // self.batch) * self.batch


@dataclass(frozen=True)
class Answers:
    """What a model answers for some images, in whichever process reads them.

    :param recipe: opens the model.
    :param numbers: which of the images.
    :param keys: their names.
    :param num_classes: how many classes answers must have; 0 if nobody knows.
    """

    recipe: Recipe
    numbers: Sequence[int]
    keys: Sequence[str]
    num_classes: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.numbers)

    def __getitem__(self, i: int, /) -> Any:
        """Run the model over the batch of an image, and return its answer at the network's own stride."""
        strided = _source_of(self.recipe).strided(self.numbers[i])
        if strided.logits.shape[0] != self.num_classes and self.num_classes:
            from calibrant.errors import InputError

            raise InputError(
                f"{self.recipe.model}: expected a model with the {self.num_classes} classes of the data; it has "
                f"{strided.logits.shape[0]}. Choose the data set that it was trained for, or name the classes: "
                "--class-names."
            )
        return strided

    def part(self, numbers: Sequence[int]) -> "Answers":
        """Return some of the answers.

        :param numbers: the numbers of the wanted ones among these.
        """
        chosen = tuple(self.numbers[i] for i in numbers)
        return replace(self, numbers=chosen, keys=tuple(self.keys[i] for i in numbers))


def names_of(opened: Any) -> tuple[str, ...]:
    """Return the class names of a model, or numbers where it says how many classes it has, without names.

    :param opened: the model.
    """
    return opened.class_names or tuple(f"class {number}" for number in range(opened.num_classes or 0))


@cache
def _source_of(recipe: Recipe) -> Any:
    return recipe.answers(*recipe.opened())
