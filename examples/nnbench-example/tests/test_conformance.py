"""The backend trains the network that nnbench's reference trains."""

import nnbench.testing

TestConformance = nnbench.testing.conformance("example")
