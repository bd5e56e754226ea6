"""How hidden patches are predicted: a file for every decoder, named as recipes name it."""

from fusion.decoders.decoder import Decoder, MakeDecoder

__all__ = ["Decoder", "MakeDecoder"]
