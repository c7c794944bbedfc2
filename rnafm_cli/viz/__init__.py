"""Drawings of structures and figures of their scores."""
