"""From a FASTA corpus to an encoder: preparation, masking, the distributed loop, export."""
