"""Distances between samples and their target."""
