"""Data: manifests of recordings, windows, batches, augmentation on the device."""
