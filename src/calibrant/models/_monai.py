"""MONAI bundles: a folder with ``configs/metadata.json``, a configuration that says what to build, and weights."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import needs
from calibrant._input.own_code import must_trust
from calibrant.errors import DataError
from calibrant.models._normalise import Normalisation
from calibrant.models.opened import OpenedModel, Scaled, digest

CONFIGS = ("inference.json", "inference.yaml", "inference.yml", "evaluate.json", "train.json", "train.yaml")
NETWORK = "network_def"
"""The name under which MONAI's bundle specification has the network."""


def is_bundle(folder: Path) -> bool:
    """Tell whether a folder is a bundle."""
    return (folder / "configs" / "metadata.json").is_file()


def open_bundle(folder: Path, *, device: str, trust_code: bool, normalisation: Normalisation) -> OpenedModel:
    """Open a bundle's network with its weights, read with ``weights_only``; its transforms are not run."""
    if not trust_code:
        raise must_trust(str(folder), "a bundle's configuration names classes and expressions that are run")
    bundle = needs("monai.bundle", "builds this model", name=str(folder))
    found = [folder / "configs" / name for name in CONFIGS if (folder / "configs" / name).is_file()]
    weights = folder / "models" / "model.pt"
    if not found or not weights.is_file():
        raise DataError(
            f"{folder}: expected a bundle with configs/inference.json (or .yaml, or train) and models/model.pt; "
            f"{'models/model.pt' if found else 'the configuration'} is missing. Download the whole bundle, with its "
            "weights."
        )
    network = _network(bundle, folder, found)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(_weights(state))
    except Exception as error:  # torch raises what unpickling raises
        raise DataError(
            f"{weights}: expected the weights of the bundle's {type(network).__name__}; they do not fit or cannot be "
            f"read: {error}. Download the bundle again."
        ) from error
    outputs = _metadata(folder).get("network_data_format", {}).get("outputs", {})
    prediction = outputs.get("pred", {}) if isinstance(outputs, dict) else {}
    channels = prediction.get("channel_def") or {}
    names = tuple(str(channels[k]) for k in sorted(channels, key=int))
    return OpenedModel(
        Scaled(network, normalisation, name=str(folder), hint=_hint(folder)).to(device),
        f"{folder} (MONAI bundle, {type(network).__name__}, weights {digest([weights])}, {normalisation})",
        class_names=names,
        num_classes=prediction.get("num_channels") or len(names) or None,
    )


def _network(bundle: Any, folder: Path, configs: list[Path]) -> nn.Module:
    for config in configs:
        parser = bundle.ConfigParser()
        try:
            parser.read_config(str(config))
            if NETWORK not in parser:
                continue
            parser["bundle_root"] = str(folder)
            network = parser.get_parsed_content(NETWORK, instantiate=True)
        except Exception as error:  # a configuration may run anything
            raise DataError(f"{config}: expected to build {NETWORK}; it fails: {error}. Mend the bundle.") from error
        if isinstance(network, nn.Module):
            return network
    raise DataError(
        f"{folder}: expected a network called {NETWORK}, as MONAI's bundle specification has it, in "
        f"{', '.join(path.name for path in configs)}; there is none. Name it so, or pass module:function."
    )


def _weights(state: Any) -> Any:
    """Return the dictionary of weights, which some trainers keep under a name."""
    for name in ("model", "state_dict", "network"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            return state[name]
    return state


def _metadata(folder: Path) -> dict[str, Any]:
    file = folder / "configs" / "metadata.json"
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: expected JSON; it cannot be read ({error}). Download the bundle again.") from error


def _hint(folder: Path) -> str:
    inputs = _metadata(folder).get("network_data_format", {}).get("inputs", {})
    image = next(iter(inputs.values()), {}) if isinstance(inputs, dict) else {}
    shape = image.get("spatial_shape")
    said = f"Its metadata says images of {image['num_channels']} channels" if "num_channels" in image else ""
    return f"{said}, of size {shape}: give windows of that size, --crop." if shape and said else said and f"{said}."
