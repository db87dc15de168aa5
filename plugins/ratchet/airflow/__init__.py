"""Thin adapters between Airflow and Ratchet's stages. The only part of the package that imports airflow."""
