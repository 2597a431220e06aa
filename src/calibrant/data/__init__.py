"""Where images, labels and stored predictions come from."""
