"""Runs as people and other tools read them: text, terminals, pages, charts, exports."""
