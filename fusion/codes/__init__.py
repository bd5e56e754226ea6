"""What stands between trunk and decoder: a file for every kind of codes, named as recipes name it."""

from fusion.codes.codes import Codes, MakeCodes, Term

__all__ = ["Codes", "MakeCodes", "Term"]
