"""The papers' claims, one file each, by the public interface alone."""
