"""What a report says of its own making: the command, the time, versions, and digests of what it was made from."""

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calibrant import __version__
from calibrant._storage.origin import Origin

_PACKAGES = ("torch", "numpy", "scipy")


def provenance(made_from: Origin) -> dict[str, str]:
    """Return what a page shows of its own making.

    :param made_from: options and digests, as the measurements have them.
    """
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    packages = [
        f"calibrant {__version__}",
        f"Python {platform.python_version()}",
        *filter(None, map(_named, _PACKAGES)),
    ]
    return {"command": command, "drawn": _now(), "versions": ", ".join(packages), **made_from}


def _now() -> str:
    """The time in UTC, to the minute; that of SOURCE_DATE_EPOCH where it is set, for pages that do not change."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.fromtimestamp(int(fixed), UTC) if fixed.isdigit() else datetime.now(UTC)
    return now.strftime("%Y-%m-%d %H:%M UTC")


def _named(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""
