"""Known RNA families: a library of profiles with their pairs, search, pair-aware alignment, templates for folding."""
