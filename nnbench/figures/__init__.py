"""From samples to claims: statistics, tables of numbers, columns by name. A figure is a number."""
