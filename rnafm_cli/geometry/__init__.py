"""Points in space: neighbours, clusters, maps and paths through them; numpy and scipy, nothing about RNA."""
