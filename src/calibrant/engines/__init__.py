"""Engines: processes of this machine, Dask and Ray, whose workers read the images of a source.

:func:`open_engine` opens one by a word; what it returns goes where an ``executor`` is asked for. This is the only
package that imports ``distributed`` or ``ray``. An executor of your own, anything with ``submit(function, *arguments)``
that returns a future, needs nothing from here.
"""

from calibrant.engines.engine import Engine
from calibrant.engines.open import is_remote, open_engine

__all__ = [
    "Engine",
    "is_remote",
    "open_engine",
]
