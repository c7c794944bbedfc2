"""The RNA-FM network: tokens in, embeddings out; its official files and their layouts."""
