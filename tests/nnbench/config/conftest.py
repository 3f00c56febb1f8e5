"""Fixtures for TOML files."""

import pytest


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Give a function that writes a file into the working directory and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write_file(text, name="my.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path.relative_to(tmp_path)

    return write_file
