"""Augmentation in two steps: a plan (numbers: windows of pictures, where they go, the faces that result), then its pixels."""
