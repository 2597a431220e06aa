"""A hundred hypotheses of one image of 128 x 128, sampler by sampler: ``python -m benchmarks.sampling``.

Times by the clock and of the processor, the latter also in passes of the same network for one sample. The refinement
sampler runs the network's encoder once an image; beside it stands a plain loop that runs the whole network for each
sample, whose label maps are compared. The other samplers with a network, in their small sizes, are timed in passes of
their own network for one sample: the median over runs, each between two such passes. Of times the least counts; what is
compared takes turns in one process.
"""

import argparse
from collections.abc import Callable, Mapping

import torch

from benchmarks._interleaved import ratios, timed, verdict
from calibrant.networks import RefinementUNet
from calibrant.samplers import CopulaSampler, Coupled, IndependentSampler, RefinementSampler, Sampler
from calibrant.samplers.storage import LEARNT
from calibrant.training import Standardise


def scene(num_classes: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (1, c, side, side) of smooth regions, and an image of one channel."""
    coarse = torch.randn(1, num_classes, 9, 9, generator=torch.Generator().manual_seed(0))
    logits = 3 * torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return logits, logits[:, :1]


def settled(network: RefinementUNet) -> RefinementUNet:
    """Return a network whose batch normalisation has seen something, so that its samples differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(5):
            condition = torch.randn(4, network.in_channels, 64, 64, generator=generator)
            network.train()(condition, torch.randn(4, 4, network.noise_size, generator=generator))
    return network.eval()


def plain_loop(sampler: RefinementSampler, logits: torch.Tensor, image: torch.Tensor, noise: torch.Tensor):
    """Return label maps from one pass of the whole network for each noise vector."""
    assert sampler.standardise is not None
    with torch.no_grad():
        condition = torch.cat([sampler.standardise(image), logits.softmax(1)], 1)
        return torch.cat([sampler.network(condition, each[None]).argmax(2) for each in noise])


def take_turns(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the least time of each task, in seconds by the clock and of the processor, all threads together."""
    least = dict.fromkeys(tasks, (float("inf"), float("inf")))
    for _ in range(rounds):
        for name, task in tasks.items():
            found = timed(task)
            least[name] = min(least[name][0], found[0]), min(least[name][1], found[1])
    return least


def compare(refined: RefinementSampler, num_classes: int, num_samples: int, side: int, rounds: int) -> None:
    """Print the times of all samplers, and how far the refinement sampler's maps are from the plain loop's."""
    logits, image = scene(num_classes, side)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(2)

    noise = torch.randn(num_samples, 1, refined.network.noise_size, generator=generator())
    others: dict[str, Sampler] = {
        "copula, one field an image": CopulaSampler(image=1.0),
        "copula, one field a region": CopulaSampler(regions=1.0),
        "copula, image, two sizes of cells, pixels": CopulaSampler(image=0.5, cells={32: 0.3, 8: 0.1}, pixels=0.1),
        "independent pixels": IndependentSampler(),
    }
    loop, once = "a plain loop over the whole network", "refinement, encoder once"
    tasks: dict[str, Callable[[], object]] = {
        "one pass": lambda: plain_loop(refined, logits, image, noise[:1]),
        loop: lambda: plain_loop(refined, logits, image, noise),
        once: lambda: refined.sample(logits, image, num_samples=num_samples, generator=generator()),
        "refinement, coupled to the logits": lambda: Coupled(refined).sample(
            logits, image, num_samples=num_samples, generator=generator()
        ),
    }
    for name, sampler in others.items():
        tasks[name] = lambda sampler=sampler: sampler.sample(logits, num_samples=num_samples, generator=generator())
    maps = refined.sample(logits, image, num_samples=num_samples, generator=generator())
    looped = plain_loop(refined, logits, image, noise)
    seconds = take_turns(tasks, rounds)
    unit = seconds["one pass"][1]
    for name, (clock, worked) in seconds.items():
        print(f"  {name:42} {clock * 1e3:8.0f} ms  {worked * 1e3:8.0f} ms of processor  {worked / unit:6.1f} passes")
    differ, varies = int((maps != looped).sum()), float((looped != looped[:1]).float().mean())
    print(f"  the encoder once is {seconds[loop][1] / seconds[once][1]:.1f} times faster than the loop")
    print(f"  {differ} of {maps.numel()} labels differ between the two; samples differ from the first in {varies:.0%}")


TARGETS = {"energy": 1.3}
"""How many passes of its network a hundred samples may take, at most."""

SECONDS, MOST_RUNS = 4, 100
"""How long runs of one sampler may take together, and how many they may be; fast ones need many to be compared."""


def compare_learnt(num_samples: int, side: int, rounds: int, *, device: str = "cpu", published: bool = False) -> None:
    """Print the times of every sampler with one network, two classes, from the image alone, and a GPU's memory.

    On a GPU times are by the clock, from when it has nothing to do to when it has nothing left.
    """
    logits, image = (maps.to(device) for maps in scene(2, side))
    standardise = Standardise(torch.zeros(1), torch.ones(1))
    on_gpu = device != "cpu"
    for name, kind in LEARNT.items():
        network = kind.network_class if published else kind.network_class.small
        sampler = kind(network(1, 2), standardise, inputs="image").to(device)

        def draw(number: int, sampler: Sampler = sampler) -> None:
            generator = torch.Generator().manual_seed(2)
            sampler.sample(logits, image, num_samples=number, generator=generator)
            if on_gpu:
                torch.cuda.synchronize()

        one, all_samples = lambda draw=draw: draw(1), lambda draw=draw: draw(num_samples)
        runs = max(rounds, min(MOST_RUNS, int(SECONDS / timed(all_samples)[0])))
        clock, worked = take_turns({name: all_samples}, runs)[name]
        ratio = ratios(one, {name: all_samples}, runs)[name][0 if on_gpu else 1]
        spent = f"{memory_of(all_samples):8.0f} MB of a GPU" if on_gpu else f"{worked * 1e3:8.0f} ms of processor"
        print(
            f"  {name:42} {clock * 1e3:8.1f} ms  {spent}  {ratio:6.2f} passes"
            f"{verdict(ratio, TARGETS.get(name) if num_samples == 100 else None)}",
            flush=True,
        )


def memory_of(task: Callable[[], object]) -> float:
    """Return the most megabytes of a GPU that a task holds beside what is there before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    task()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def main() -> None:
    """Print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--learnt", action="store_true", help="the samplers with one network alone")
    parser.add_argument("--published", action="store_true", help="those in their published widths")
    parser.add_argument("--device", default="cpu", help="where those draw, such as cuda; on a GPU alone no others do")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    widths = "published widths" if options.published else "small"
    where = f"{options.threads} threads" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    print(f"{options.samples} samples of {options.side} x {options.side}, {where}; 2 classes, {widths}")
    sizes = (options.samples, options.side, options.rounds)
    compare_learnt(*sizes, device=options.device, published=options.published)
    if options.learnt or options.device != "cpu":
        return
    standardise = Standardise(torch.zeros(1), torch.ones(1))
    for title, network in (
        ("published sizes, 2 classes", RefinementUNet(3, 2)),
        ("small preset, 2 classes", RefinementUNet.small(3, 2)),
        ("published sizes, 24 classes", RefinementUNet(25, 24, noise_size=32)),
    ):
        print(f"{options.samples} samples of {options.side} x {options.side}, {options.threads} threads; {title}")
        refined = RefinementSampler(settled(network), standardise)
        compare(refined, network.num_classes, options.samples, options.side, options.rounds)


if __name__ == "__main__":
    main()
