"""Thin adapters to other libraries, a module each, which needs that library; none is imported before it is asked for.

``calibrant.integrations.torchmetrics``
    ``TallyMetric``: a ``torchmetrics.Metric`` that counts tallies in a training loop, over processes too.
``calibrant.integrations.lightning``
    ``TallyCallback``: the same in a training with Lightning, logged at the end of validation and test.
``calibrant.integrations.ignite``
    ``TallyHandler``: the same in an evaluator of Ignite or MONAI.
``calibrant.integrations.hub``
    ``HubCalibrator``: a calibrator that is saved to the Hugging Face hub and loaded from it, with a card.
"""

__all__: list[str] = []
