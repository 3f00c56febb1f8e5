"""From samples to claims: ratios, intervals, verdicts, limits."""
