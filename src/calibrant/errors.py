"""Everything that calibrant raises on purpose.

::

    CalibrantError
    ├── InputError (ValueError)     what was passed in cannot be used
    │   ├── ShapeError                  axes missing, misplaced or of unlike sizes
    │   ├── LogitsError                 not finite, or not logits
    │   ├── LabelError                  not integers, or outside the classes
    │   └── MethodError                 no method, score or preset of that name
    ├── DataError                   files are missing, misplaced or broken
    │   └── StoreError                  a store of predictions cannot be read or written
    ├── EngineError                 workers of an engine cannot be reached, or were lost
    ├── FitError                    data from which nothing can be fitted
    └── PackageError (ImportError)  a package of an extra is not installed

Every message says what was expected, what came, and what to do. The command line prints it and exits with 2.
"""

__all__ = [
    "CalibrantError",
    "DataError",
    "EngineError",
    "FitError",
    "InputError",
    "LabelError",
    "LogitsError",
    "MethodError",
    "PackageError",
    "ShapeError",
    "StoreError",
]


class CalibrantError(Exception):
    """The root: catch this to catch all of them."""


class InputError(CalibrantError, ValueError):
    """What was passed in cannot be used."""


class ShapeError(InputError):
    """Axes are missing, misplaced or of unlike sizes."""


class LogitsError(InputError):
    """Logits are not finite, or the numbers are no logits (or no probabilities) at all."""


class LabelError(InputError):
    """Labels are not integers, or lie outside the classes."""


class MethodError(InputError):
    """There is no method, score or preset of that name."""


class DataError(CalibrantError):
    """Files are missing, misplaced or broken."""


class StoreError(DataError):
    """A store of predictions cannot be read or written."""


class EngineError(CalibrantError):
    """The workers of an engine cannot be reached, were lost, or are not like the process that sends them work."""


class FitError(CalibrantError):
    """Nothing can be fitted to these data."""


class PackageError(CalibrantError, ImportError):
    """A package that only some functions need, and that an extra of calibrant brings, is not installed."""
