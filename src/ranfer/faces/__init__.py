"""Faces in pictures: where they are, and how they become what a model expects."""
