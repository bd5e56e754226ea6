"""Trunks, the encoders of visible tokens: a file for each, named as in recipes."""

from fusion.trunks.trunk import Trunk

__all__ = ["Trunk"]
