"""This library's version, for every layer; ``pyproject.toml`` takes it from here."""

__version__ = "0.1.0"
