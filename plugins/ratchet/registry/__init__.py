"""The model registry (MLflow): versions, aliases, and artifacts that are checked before they are read."""
