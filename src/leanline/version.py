"""The version of leanline: the one place where it is written."""

__version__ = "0.1.0"
