"""From sequence to pair maps and structures: fold, contact and distance, their heads, training and figures."""
