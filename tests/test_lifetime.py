import pytest

from exporter.lifetime import fold_lifetime
from exporter.model import Lifetime

LIMIT = 11.0


def told(*figures: tuple[float | None, float]) -> tuple[list[float | None], list[bool]]:
    """What is believed after each figure (kWh, report in seconds), and where a new account begins."""
    lifetime, believed, resets = Lifetime(), [], []
    for kwh, reported in figures:
        lifetime, is_new_account = fold_lifetime(lifetime, kwh, reported, LIMIT)
        believed.append(lifetime.kwh)
        resets.append(is_new_account)
    return believed, resets


def test_a_figure_that_grows_is_believed() -> None:
    assert told((100.0, 300), (100.5, 600), (101.0, 900)) == ([100.0, 100.5, 101.0], [False] * 3)


def test_the_first_figure_may_be_anything_and_small_is_not_another_unit() -> None:
    assert told((0.15, 300))[0] == [0.15]


def test_a_missing_figure_keeps_the_last() -> None:
    assert told((None, 0), (100.0, 300), (None, 600), (100.5, 900))[0] == [None, 100.0, 100.0, 100.5]


def test_jitter_is_held() -> None:
    assert told((100.0, 300), (99.99, 600), (100.01, 900))[0] == [100.0, 100.0, 100.01]


@pytest.mark.parametrize("dip", [0.0, 3.0, 40.0, 99.0, 99.9])
def test_a_dip_that_comes_back_is_never_seen(dip: float) -> None:
    believed, resets = told((100.0, 300), (dip, 600), (100.2, 900), (100.3, 1200))
    assert believed == [100.0, 100.0, 100.2, 100.3]
    assert not any(resets)


def test_a_repeated_or_older_report_neither_confirms_nor_changes_anything() -> None:
    believed, _ = told((100.0, 300), (0.3, 600), (0.3, 600), (0.3, 600), (50.0, 200), (100.4, 1200))
    assert believed == [100.0, 100.0, 100.0, 100.0, 100.0, 100.4]


@pytest.mark.parametrize(("before", "after"), [(100.0, 0.3), (100.0, 49.0), (6.0, 4.0)])
def test_a_reset_is_believed_after_two_reports_that_agree_and_lie_apart(before: float, after: float) -> None:
    believed, resets = told((before, 300), (after, 600), (after + 0.1, 700), (after + 0.2, 900))
    assert believed == [before, before, before, after + 0.2]
    assert resets == [False, False, False, True]


def test_nothing_is_what_the_cloud_shows_for_a_figure_it_has_lost_however_long() -> None:
    hours = [(0.0, 600 + 3600.0 * hour) for hour in range(50)]
    assert set(told((100.0, 300), *hours)[0]) == {100.0}
    assert told((0.0, 300), (0.0, 600))[0] == [None, None]


@pytest.mark.parametrize("odd", [99.0, 5000.0])
def test_any_other_odd_figure_has_to_stand_for_a_day(odd: float) -> None:
    hours = [(odd, 600 + 3600.0 * hour) for hour in range(25)]
    believed, resets = told((100.0, 300), *hours)
    assert believed[:-1] == [100.0] * 25
    assert believed[-1] == odd
    assert resets[-1]


def test_a_jump_that_the_charger_cannot_have_delivered_is_held() -> None:
    assert told((100.0, 300), (150.0, 600), (100.5, 900))[0] == [100.0, 100.0, 100.5]


def test_what_was_delivered_in_a_long_outage_is_believed_at_once() -> None:
    assert told((100.0, 300), (300.0, 300 + 2 * 86_400))[0] == [100.0, 300.0]


def test_candidates_that_disagree_confirm_nothing() -> None:
    believed, _ = told((100.0, 300), (0.3, 600), (20.0, 900), (0.1, 1200), (30.0, 1500))
    assert believed == [100.0] * 5
