"""What the trainers of all heads share: recipe files, optimiser, state of a run, log, labelled rows."""
