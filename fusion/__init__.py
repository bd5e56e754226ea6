"""How streams are hidden and joined: maskings, trunks and decoders over the tokens of any set of modalities."""
