"""RNA science on numpy arrays: no torch, no files."""
