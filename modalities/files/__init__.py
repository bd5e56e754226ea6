"""Media files: opening them, where recordings begin and end, decoding, damage, and limits on what one may claim."""
