"""From samples to claims: statistics, tables of numbers, columns by name."""
