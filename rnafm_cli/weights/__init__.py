"""Model files and their names: registry, store, download, cards."""
