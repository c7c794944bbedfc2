"""From sequences to batches."""
