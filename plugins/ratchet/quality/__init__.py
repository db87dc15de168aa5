"""Gates at three borders: after landing, before a feature partition is published, before training."""
