"""Recipes tried side by side: what may be asked, and how the answers are compared. No I/O."""
