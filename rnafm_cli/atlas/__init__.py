"""Maps of RNA space: layout, clusters, trajectory, placement, comparison, figures and page."""
