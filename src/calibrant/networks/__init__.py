"""One file per architecture, each a plain module."""
