"""What a session that was cut says of itself."""

import pytest

from nnbench.testing.execution import HANG, SLOW, why_cut
from nnbench.testing.session import Finding


def starts(*times):
    return [
        Finding("mine", f"check {number}", "started", at_s=at_s)
        for number, at_s in enumerate(times, start=1)
    ]


@pytest.mark.parametrize(
    ("times", "hint"),
    [
        ([], HANG),
        ([100], HANG),
        ([100, 101, 102], HANG),
        ([100, 249], HANG),
        ([100, 251], SLOW),
        ([100, 101, 300, 390], SLOW),
    ],
)
def test_a_check_that_took_longer_than_all_before_it_hangs(times, hint):
    assert why_cut(starts(*times), 400).endswith(f"Likely mistake: {hint}")


def test_where_all_is_slow_the_longest_check_is_named():
    text = why_cut(starts(100, 101, 300, 390), 400)
    assert text.startswith(", in this check for 10 s; the longest was check 2 with 199 s. ")
