"""The command line, the embedded development stack and the drill: what an operator runs."""

__version__ = "0.2.0"
