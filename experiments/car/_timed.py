"""Where trainings are kept, and how long they took."""

import json
import time
from pathlib import Path
from typing import Any

import torch


def folder_name(title: str) -> str:
    """Return the name of a row or a training as part of a path.

    >>> folder_name("CAR, four times as long")
    'CAR_four_times_as_long'
    """
    return title.replace(" ", "_").replace(",", "")


class Timer:
    """Adds the seconds of a block to those that earlier parts of the same training took, and keeps sum and device."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.path, self.device = folder / "seconds.json", device

    def __enter__(self) -> None:
        self.begun = time.monotonic(), time.process_time()

    def __exit__(self, *_: object) -> None:
        spent = self.read(self.path.parent)
        for name, now, then in zip(
            ("wall", "processor"), (time.monotonic(), time.process_time()), self.begun, strict=True
        ):
            spent[name] = spent.get(name, 0.0) + now - then
        spent["device"] = torch.cuda.get_device_name(self.device) if self.device.startswith("cuda") else self.device
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(spent) + "\n")

    @staticmethod
    def read(folder: Path) -> dict[str, Any]:
        """Return the seconds that a training took, and on what; nothing if it is not known."""
        path = folder / "seconds.json"
        return json.loads(path.read_text()) if path.exists() else {}
