"""What counting and drawing share: images with a label, names of images in errors, sources over an executor."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from calibrant._shapes import IGNORE
from calibrant.errors import InputError
from calibrant.predictions import Executor, Prediction, Predictions, Sharded, predictions_of


def over(predictions: Predictions, executor: Executor | None) -> Predictions:
    """Return predictions, of a loader or a data set of pairs too, in shards of an executor; whole without one."""
    predictions = predictions_of(predictions)
    return predictions if executor is None else Sharded(predictions, executor)


@dataclass(frozen=True)
class Labelled:
    """The predictions with a labelled pixel; the names of the others are noted."""

    predictions: Iterable[Prediction]
    left_out: list[str]

    def __iter__(self) -> Iterator[Prediction]:
        for prediction in self.predictions:
            if bool((prediction.labels != IGNORE).any()):
                yield prediction
            else:
                self.left_out.append(prediction.key)


@contextmanager
def naming(key: str) -> Generator[None]:
    """Put the name of the image before the message of an error: counts see one image, without its name."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"image {key!r}: {error}") from error


def nothing_labelled(num_images: int) -> InputError:
    """Return the error for images without a label."""
    return InputError(
        f"expected labelled pixels in at least one image; got none in {num_images} images. "
        "Check ignore_index and the folder of labels."
    )
