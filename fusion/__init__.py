"""Masking and fusion: maskings, trunks and decoders over the tokens of any set of modalities."""
