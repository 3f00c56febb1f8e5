"""What a session reports reaches its parent, even after a crash."""

from nnbench.testing.session import Finding, Reporter, read


def test_a_report_that_is_not_there_is_empty(tmp_path):
    assert read(tmp_path / "report.jsonl") == []


def test_a_line_that_a_kill_has_torn_is_left_out(tmp_path):
    path = tmp_path / "report.jsonl"
    whole = [Finding("numpy", "logits", "started"), Finding("numpy", "logits", "passed")]
    for finding in whole:
        Reporter(path).write(finding)
    with path.open("ab") as file:
        file.write(b'{"backend":"num')
    assert read(path) == whole
