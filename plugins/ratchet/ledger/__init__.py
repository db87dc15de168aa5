"""The append-only, hash-chained record of every decision, and the state that follows from it."""
