"""Vertical linear regression."""
