"""Bytes to records and back: sequences, structures, embeddings, tables. No torch here."""
