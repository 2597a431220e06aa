"""The calibration methods by name: one literal table, and how to name a method with options in a line of text.

The command line, the experiments, the benchmarks and the tests take methods from :data:`METHODS`. In text a method is

* its name: ``temperature``;
* its name with options: ``selective:base=vector-kept,num_epochs=5``. An option is a keyword of the method's ``fit``,
  read as its annotation says: a number, ``true`` or ``false``, ``none``, a word, or, where it takes a fit, the name
  of a method without options of its own (where it takes several, names with ``+`` between);
* ``module:function`` or ``path/to/file.py:Class.fit``, a fit of your own, with or without options.

What needs more than this is written in Python: ``partial(SelectiveScaling.fit, others=partial(VectorScaling.fit,
strength=0.1))``.
"""

from calibrant.methods.method import Method
from calibrant.methods.table import DEFAULT, GROUPS, METHODS
from calibrant.methods.text import parse_method, parse_methods, with_options

__all__ = ["DEFAULT", "GROUPS", "METHODS", "Method", "parse_method", "parse_methods", "with_options"]
