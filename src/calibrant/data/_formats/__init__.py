"""Reading one file: arrays, pictures, TIFF and NIfTI, with what each says of itself; which names are data."""
