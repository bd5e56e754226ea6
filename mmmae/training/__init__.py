"""The training loop and what it needs: optimizer, batch sizes, log, validation, resuming."""
