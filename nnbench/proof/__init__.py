"""Whether a backend trained the network that it was asked to."""
