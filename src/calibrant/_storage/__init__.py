"""Files on disk: written whole or not at all, fitted things in them, and what each was made from."""
