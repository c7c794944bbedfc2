"""Networks, named models and their weight files."""
