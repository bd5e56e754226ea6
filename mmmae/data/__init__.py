"""What is fed: a manifest of recordings, the windows cut from them, batches by the step, augmentation on the device."""
