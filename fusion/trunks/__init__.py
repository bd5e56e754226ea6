"""How visible tokens become representations: a file for every trunk, named as recipes name it."""

from fusion.trunks.trunk import Trunk

__all__ = ["Trunk"]
