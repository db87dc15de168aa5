"""Training: a snapshot's frame in, model bytes and baselines out, seeded and byte-identical when repeated."""
