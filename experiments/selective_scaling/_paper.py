"""Numbers of the paper that stand beside ours: its street scenes, from Tables 1 and 2."""

COLUMNS = (
    "uncalibrated",
    "temperature",
    "vector",
    "Dirichlet",
    "Meta-Cal*",
    "local temperature",
    "ensemble",
    "selective",
)

IN_DOMAIN = {
    "SegFormer-B5": (0.064, 0.055, 0.054, 0.053, 0.049, 0.069, 0.059, 0.040),
    "Segmenter-L": (0.055, 0.045, 0.043, 0.042, 0.037, 0.071, 0.052, 0.031),
    "Knet-DeepLab": (0.060, 0.049, 0.047, 0.048, 0.041, 0.063, 0.057, 0.035),
    "Knet-SWIN-L": (0.065, 0.055, 0.054, 0.054, 0.049, 0.067, 0.063, 0.040),
    "ConvNeXt-L": (0.064, 0.054, 0.053, 0.056, 0.049, 0.065, 0.063, 0.038),
}
"""Image-wise ECE on BDD100K, Table 1."""

SHIFTED = {
    "SegFormer-B5": (0.087, 0.083, 0.082, 0.084, 0.076, 0.085, 0.087, 0.069),
    "Segmenter-L": (0.062, 0.058, 0.059, 0.057, 0.055, 0.067, 0.060, 0.048),
    "Knet-DeepLab": (0.073, 0.070, 0.069, 0.071, 0.063, 0.073, 0.071, 0.056),
    "Knet-SWIN-L": (0.080, 0.078, 0.077, 0.077, 0.071, 0.079, 0.079, 0.063),
    "ConvNeXt-L": (0.081, 0.079, 0.079, 0.077, 0.070, 0.080, 0.079, 0.065),
}
"""Image-wise ECE on Cityscapes, calibrated on BDD100K, Table 2."""


def change(table: dict[str, tuple[float, ...]], column: str) -> float:
    """Return the change of the mean ECE over the five models against no calibration, as a share of it.

    >>> round(change(IN_DOMAIN, "selective"), 2)
    -0.4
    """
    number = COLUMNS.index(column)
    return sum(row[number] for row in table.values()) / sum(row[0] for row in table.values()) - 1


def print_changes(table: dict[str, tuple[float, ...]], ours: dict[str, float], set_name: str) -> dict[str, dict]:
    """Print and return the change of image-wise ECE against no calibration, the paper's beside ours.

    :param ours: image-wise ECE by method; "X, published" and "X" stand beside the paper's X.
    """
    print("\nimage-wise ECE against no calibration:")
    print(f"  paper ({set_name}, mean of five models) | ours, published | ours, at its optimum")
    found = {}
    for column in COLUMNS[1:]:
        mine = {
            kind: ours[name] / ours["uncalibrated"] - 1
            for kind, name in (("published", f"{column}, published"), ("optimum", column))
            if name in ours
        }
        found[column] = {"paper": change(table, column), **mine}
        cells = [f"{mine[kind]:+7.0%}" if kind in mine else "      –" for kind in ("published", "optimum")]
        print(f"  {column:20s} {change(table, column):+7.0%} | {' | '.join(cells)}")
    return found
