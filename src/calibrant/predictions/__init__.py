"""What a model said about images: the one currency of the library.

Conventions
-----------
* The class axis of logits comes first, ``(c, *s)``, and is never guessed. ``*s`` is ``h w`` or ``d h w``.
* Labels keep their annotators, ``(a, *s)``; usually a = 1. Unlabelled pixels hold ``IGNORE``.
* Logits are the currency. Probabilities and one-channel sigmoid scores are turned into logits here, by name, and
  never detected from their values.
* A source of predictions is anything with a length that can be read more than once: a list will do.
"""

from calibrant._shapes import IGNORE
from calibrant.predictions.arrays import from_arrays, from_probabilities, from_sigmoid, prediction_from
from calibrant.predictions.margin import MARGIN, nearly_tied, with_margin
from calibrant.predictions.pairs import Pairs, PredictionsLike, examples_of, predictions_of
from calibrant.predictions.parts import (
    ChangedInParts,
    PredictionInParts,
    WholeInParts,
    each_in_parts,
    read_ahead,
)
from calibrant.predictions.prediction import Example, Prediction, StridedPrediction, resized, with_logits
from calibrant.predictions.sharded import (
    Executor,
    Sharded,
    default_shard_size,
    mapped_in_shards,
    of_each,
    part_of,
    spread,
    summed,
)
from calibrant.predictions.sources import Examples, Mapped, Predictions, Subset, keys_of, known_keys, split

__all__ = [
    "IGNORE",
    "MARGIN",
    "ChangedInParts",
    "Example",
    "Examples",
    "Executor",
    "Mapped",
    "Pairs",
    "Prediction",
    "PredictionInParts",
    "Predictions",
    "PredictionsLike",
    "Sharded",
    "StridedPrediction",
    "Subset",
    "WholeInParts",
    "default_shard_size",
    "each_in_parts",
    "examples_of",
    "from_arrays",
    "from_probabilities",
    "from_sigmoid",
    "keys_of",
    "known_keys",
    "mapped_in_shards",
    "nearly_tied",
    "of_each",
    "part_of",
    "prediction_from",
    "predictions_of",
    "read_ahead",
    "resized",
    "split",
    "spread",
    "summed",
    "with_logits",
    "with_margin",
]
