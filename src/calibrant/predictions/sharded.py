"""Sources whose images are read elsewhere: in other processes, or on other machines.

Whatever reads a source once, image by image, asks :func:`mapped_in_shards`, :func:`of_each` or :func:`summed`. A source
that is :class:`Sharded` is then cut into runs of images, each run goes to an executor, and the answers come back in the
order of the images; any other source is read here, as one run.

Sums of floating-point numbers depend on the order in which they are added. Here the order is the same however images
are spread: blocks of an image in order, images of a group of :data:`GROUP` in order, groups in order.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeVar, runtime_checkable

from calibrant.errors import InputError
from calibrant.predictions.sources import Mapped, Subset, in_order, keys_of

GROUP = 64
"""Images whose sums are added before they are added to those of other images."""

MOST_SHARDS = 256
"""A shard has one image where there are no more images than this; with more images it grows, to a group at most."""

R = TypeVar("R")


@runtime_checkable
class Executor(Protocol):
    """What runs a function elsewhere: ``concurrent.futures.ProcessPoolExecutor``, ``Client.get_executor()`` of Dask.

    ``concurrent.futures.Executor`` and whatever else has its ``submit`` is one. If it has ``window``, that many tasks
    are in flight; if it has ``share``, what it returns of an argument that all tasks get takes the argument's place.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """Run a function, and return a future with ``result`` and ``cancel``.

        :param fn: the function to run.
        :param args: what the function is called with.
        """
        ...


@dataclass(frozen=True)
class Sharded:
    """A source of which an executor's workers read the images, in shards; read by number or in order it is read here.

    Tallies, fits on drawn pixels and streamed fits, stores that are written and hypotheses are the same, bit for bit,
    as from the source itself, for every executor and size of shards. Source, functions and arguments are pickled.

    :param source: predictions, or examples.
    :param executor: has ``submit(function, *arguments)``, which returns a future.
    :param shard_size: images in a shard; None for 1 up to 64, the more the more images there are.
    :param advance: called with the number of images of each shard that is finished, in their order.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import torch
    >>> from calibrant.predictions import Prediction
    >>> predictions = [Prediction(key, torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in "abc"]
    >>> def names(images, first):
    ...     return [(first + i, each.key) for i, each in enumerate(images)]
    >>> with ThreadPoolExecutor() as executor:
    ...     list(mapped_in_shards(names, Sharded(predictions, executor, shard_size=2)))
    [[(0, 'a'), (1, 'b')], [(2, 'c')]]
    """

    source: Any
    executor: Executor
    _: KW_ONLY
    shard_size: int | None = None
    advance: Callable[[int], object] | None = None

    def __post_init__(self) -> None:
        if self.shard_size is not None and self.shard_size < 1:
            raise InputError(f"expected one image a shard or more; got {self.shard_size}. 64 is usual.")

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without reading any if the source has ``keys``."""
        return keys_of(self.source)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names of the source; empty if it has none."""
        return tuple(getattr(self.source, "class_names", None) or ())

    @property
    def strided(self) -> Callable[[int], Any]:
        """Read one image, by number, at the network's own stride, here; only there if the source has it."""
        return self.source.strided

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        """Read the images in order, here."""
        return in_order(self.source)

    def __getitem__(self, i: int, /) -> Any:
        """Read one image, here."""
        return self.source[i]

    @property
    def shards(self) -> list[range]:
        """The numbers of the images of each shard."""
        count = len(self)
        size = self.shard_size or default_shard_size(count)
        return [range(first, min(first + size, count)) for first in range(0, count, size)]

    def mapped(self, function: Callable[..., R], arguments: Sequence[Any]) -> Iterator[R]:
        """Yield ``function(images, first, *arguments)`` of each shard, in order, some of them ahead.

        :param function: a function of a module, so that it can be pickled; it gets an iterator over the shard's images
            and the number of the first of them.
        :param arguments: what else the function gets.
        """
        share = getattr(self.executor, "share", None)
        shared = tuple(arguments) if share is None else tuple(map(share, arguments))
        waiting = ((shard, part_of(self.source, shard)) for shard in self.shards)
        tasks = ((shard, (_on_shard, function, part, shard.start, *shared)) for shard, part in waiting)
        for shard, result in _in_order(self.executor, tasks):
            yield result
            if self.advance is not None:
                self.advance(len(shard))


def default_shard_size(total: int) -> int:
    """Return how many images a shard has if nobody said: 1 up to 64, the more the more images there are.

    :param total: how many images there are.

    >>> default_shard_size(100), default_shard_size(1_000), default_shard_size(1_000_000)
    (1, 4, 64)
    """
    return min(GROUP, -(-total // MOST_SHARDS)) or 1


def _on_shard(function: Callable[..., R], part: Any, first: int, *arguments: Any) -> R:
    """What a worker does. A source that can be read in parts stays one, for functions that read it so."""
    return function(part if hasattr(part, "__iter__") else in_order(part), first, *arguments)


def _in_order(executor: Executor, tasks: Iterator[tuple[Any, tuple[Any, ...]]]) -> Iterator[tuple[Any, Any]]:
    """Yield the results of tasks in their order; never are more in flight than the executor's window."""
    window = getattr(executor, "window", None) or 128
    flying: deque[tuple[Any, Any]] = deque()
    try:
        while True:
            flying.extend((name, executor.submit(*task)) for name, task in islice(tasks, window - len(flying)))
            if not flying:
                return
            name, future = flying.popleft()
            yield name, future.result()
            del future  # or its result would be held while the next is waited for
    finally:
        for _, future in flying:
            future.cancel()


def spread(source: Any) -> Sharded | None:
    """Return a source as one in shards, if it is one, or is seen through functions or in part; else None.

    :param source: any source of images.

    >>> spread([]) is None
    True
    """
    if isinstance(source, Sharded):
        return source
    inner = spread(source.source if isinstance(source, Mapped) else source.predictions) if _wraps(source) else None
    if inner is None:
        return None
    name = "source" if isinstance(source, Mapped) else "predictions"
    return replace(inner, source=replace(source, **{name: inner.source}))


def _wraps(source: Any) -> bool:
    return isinstance(source, Mapped | Subset)


def part_of(source: Any, numbers: Sequence[int]) -> Any:
    """Return some images of a source without the rest of it: what is sent to who reads them.

    A source with ``part(numbers)`` says itself what that is.

    :param source: predictions, or examples.
    :param numbers: the numbers of the wanted images, in the order in which they are to be read.

    >>> part_of(list("abc"), [2, 0])
    ['c', 'a']
    """
    if hasattr(source, "part"):
        return source.part(numbers)
    if isinstance(source, Mapped):
        names = None if source.names is None else tuple(source.names[i] for i in numbers)
        return replace(source, source=part_of(source.source, numbers), names=names)
    if isinstance(source, Subset):
        return part_of(source.predictions, [source.numbers[i] for i in numbers])
    if isinstance(source, list | tuple | range):
        return [source[i] for i in numbers]
    return Subset(source, tuple(numbers))


def mapped_in_shards(function: Callable[..., R], source: Any, *arguments: Any) -> Iterator[R]:
    """Yield ``function(images, first, *arguments)`` of each shard of a source, in order: of a plain source, of all.

    :param function: gets an iterator over the shard's images, all of which it must read, and the number of the first.
    :param source: predictions, or examples.
    :param arguments: what else the function gets.
    """
    sharded = spread(source)
    if sharded is None:
        yield function(in_order(source), 0, *arguments)
    else:
        yield from sharded.mapped(function, arguments)


def of_each(of_image: Callable[..., R], source: Any, *arguments: Any) -> Iterator[R]:
    """Yield ``of_image(image, number, *arguments)`` of each image of a source, in order.

    Of a source that is read here the next image is read when the next answer is asked for.

    :param of_image: gets an image, its number and the arguments.
    :param source: predictions, or examples.
    :param arguments: what else the function gets.

    >>> list(of_each(lambda text, number: text * number, ["a", "b", "c"]))
    ['', 'b', 'cc']
    """
    sharded = spread(source)
    if sharded is None:
        yield from (of_image(image, number, *arguments) for number, image in enumerate(in_order(source)))
    else:
        for made in sharded.mapped(_made_of_each, (of_image, arguments)):
            yield from made


def _made_of_each(images: Iterable[Any], first: int, of_image: Callable[..., R], arguments: Any) -> list[R]:
    return [of_image(image, number, *arguments) for number, image in enumerate(images, first)]


def summed(of_image: Callable[..., R | None], source: Any, *arguments: Any) -> R | None:
    """Return the sum over a source's images of what a function makes of each; None if it makes nothing of any.

    The order of the additions does not depend on how the images are spread.

    :param of_image: gets an image and the arguments; what it returns can be added, and None adds nothing.
    :param source: predictions, or examples.
    :param arguments: what else the function gets.

    >>> summed(len, ["ab", "c"])
    3
    """
    sharded = spread(source)
    if sharded is None:
        return _total(_of_each(in_order(source), 0, of_image, arguments))
    parts = sharded.mapped(_group_sums, (of_image, arguments))
    return _total(part for shard in parts for part in shard)


def _of_each(images: Iterable[Any], first: int, of_image: Callable[..., R | None], arguments: Any) -> Iterator[Any]:
    """What a function makes of each image, with the number of its group."""
    for number, image in enumerate(images, first):
        made = of_image(image, *arguments)
        if made is not None:
            yield number // GROUP, made


def _group_sums(images: Iterable[Any], first: int, of_image: Callable[..., R | None], arguments: Any) -> list[Any]:
    """The sums of the groups that begin in a shard, and what is made of each image of the group before them.

    A group that ends in the next shard is added as far as it goes: the rest is added to it, image by image.
    """
    parts: list[Any] = []
    for group, made in _of_each(images, first, of_image, arguments):
        if parts and parts[-1][0] == group and group * GROUP >= first:
            parts[-1] = (group, parts[-1][1] + made)
        else:
            parts.append((group, made))
    return parts


def _total(parts: Iterable[tuple[int, Any]]) -> Any | None:
    """The sum of groups, each of which is the sum of its parts in their order."""
    total, subtotal, current = None, None, None
    for group, part in parts:
        if group == current:
            subtotal = subtotal + part
        else:
            total, subtotal, current = _plus(total, subtotal), part, group
    return _plus(total, subtotal)


def _plus(one: Any | None, other: Any | None) -> Any | None:
    return other if one is None else one if other is None else one + other
