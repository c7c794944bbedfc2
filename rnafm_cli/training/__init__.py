"""Pre-training and fine-tuning: configuration, schedules, loops, checkpoints, launch."""
