"""What several rooms draw with: structures, arcs, maps, palettes, axes."""
