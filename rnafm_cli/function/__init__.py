"""What an RNA does: RBP binding and ribosome load, their heads, training and figures."""
