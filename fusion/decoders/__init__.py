"""Decoders, which predict hidden patches: a file for each, named as in recipes."""

from fusion.decoders.decoder import Contents, Decoder, MakeDecoder

__all__ = ["Contents", "Decoder", "MakeDecoder"]
