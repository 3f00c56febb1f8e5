"""What is trained on: datasets, workloads, and everything that is drawn at random."""
