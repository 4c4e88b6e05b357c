"""Optimisers: frozen dataclasses of their settings."""
