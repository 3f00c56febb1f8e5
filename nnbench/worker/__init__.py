"""What runs in a cell's process: set-up, warm-up, training, phases."""
