"""Durable storage: checkpoints, tensors, embeddings."""
