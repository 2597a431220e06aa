"""Every public class is abstract or final: none inherits from one that can be made or overrides what does something."""

import importlib
import inspect
import pkgutil

import pytest
from torch import nn

import calibrant

HOOKS = {"__init__", "forward", "extra_repr", "train", "__post_init__"}
"""What nn.Module and dataclasses ask subclasses to define."""

BASES = {"Tally", "ImageWise"}
"""Bases of dataclasses without an abstract method, which nobody makes: the columns are the subclass's."""

KNOWN = {"Tally.stack", "Tally.minus", "Tally.pooled"}
"""What is overridden though it does something, to be mended."""


def public_classes() -> dict[str, type]:
    """The classes of all public modules, by address."""
    found = {}
    for info in pkgutil.walk_packages(calibrant.__path__, "calibrant."):
        if any(part.startswith("_") for part in info.name.split(".")):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == info.name and not name.startswith("_"):
                found[f"{info.name}.{name}"] = value
    return found


def is_protocol(cls: type) -> bool:
    return bool(getattr(cls, "_is_protocol", False))


CLASSES = public_classes()


def ours(cls: type) -> list[type]:
    """Its bases that are this package's."""
    return [base for base in cls.__mro__[1:] if base.__module__.startswith("calibrant") and not is_protocol(base)]


def test_there_are_many():
    assert len(CLASSES) > 60
    assert "calibrant.calibrators.selective.meta_cal.MetaCal" in CLASSES


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_no_class_inherits_from_one_that_can_be_made(name):
    cls = CLASSES[name]
    if issubclass(cls, BaseException):  # a tree of errors is meant to be caught at any height
        return
    made = [base.__name__ for base in ours(cls) if not inspect.isabstract(base) and base.__name__ not in BASES]
    assert not made, f"{name} inherits from {made}, which can be made themselves: hold one instead"


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_no_method_that_does_something_is_overridden(name):
    cls = CLASSES[name]
    for base in ours(cls):
        for attribute, member in vars(base).items():
            if not callable(getattr(member, "__func__", member)) or attribute in HOOKS or attribute not in vars(cls):
                continue
            if attribute.startswith("__") or attribute in vars(nn.Module):
                continue
            place = f"{base.__name__}.{attribute}"
            assert getattr(member, "__isabstractmethod__", False) or place in KNOWN, f"{name} overrides {place}"
