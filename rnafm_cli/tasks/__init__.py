"""The library API: records in, results out, as generators."""
