"""How hidden patches are predicted: a file for every decoder, named as recipes name it."""

from fusion.decoders.decoder import Contents, Decoder, MakeDecoder

__all__ = ["Contents", "Decoder", "MakeDecoder"]
