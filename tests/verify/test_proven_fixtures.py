"""Fixtures of the rules that change what is computed train the same once they are converted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.convert import convert, write
from hora.verify import verify

FIXTURES = Path(__file__).parents[1] / "convert" / "fixtures"
CASES = (
    "HR201/batches_of_like_lengths",
    "HR201/parts_within_parts",
    "HR204/shuffled",
    "HR205/columns_along_the_second_axis",
    "HR205/columns_of_a_text",
    "HR205/drawn_at_random",
    "HR205/drawn_in_a_function",
    "HR205/first_of_an_order",
    "HR206/labelled_again_and_again",
    "HR206/one_by_one",
    "HR206/sum_and_mean",
    "HR206/two_loaders_in_a_step",
    "HR207/first_of_the_whole",
    "HR207/made_before_and_altered",
    "HR207/made_before_and_cut",
    "HR207/made_before_the_loop",
    "HR207/raises_where_not_full",
    "HR303/listed",
    "HR304/clamped_quotient",
    "HR304/class_weights",
    "HR304/ctc",
    "HR304/dice",
    "HR304/ignore_index",
    "HR304/ignored_unasked",
    "HR304/mask",
    "HR304/masked_as_they_are_put_together",
    "HR304/mean_of_picked",
    "HR304/one_function_for_both",
    "HR304/packed",
    "HR304/padded",
    "HR304/padded_samples_second",
    "HR304/padded_with_short_names",
    "HR304/picked_within_a_sum",
    "HR304/weights_of_the_network",
    "HR305/dice_of_each_picture",
    "HR305/dice_without_a_name",
    "HR305/gradient_reversed",
    "HR305/mixup",
    "HR305/mixup_in_a_function",
    "HR305/picked_end_to_end",
    "HR305/root_of_a_mean",
    "HR305/shifted_by_a_maximum",
    "HR305/sums_by_class",
    "HR305/whole_batch_statistics",
    "HR309/closure",
    "HR309/whole_batch",
    "HR403/a_dict_beside_it",
    "HR403/range_test",
    "HR311/hooks_in_proportion",
    "HR501/an_order_from_the_same_seed",
    "HR501/folds_from_the_same_seed",
    "HR503/drawn_from_distributions",
    "HR503/noise_in_a_network",
    "HR503/random_depth",
    "HR503/tables_as_buffers",
    "HR503/teacher_forcing",
    "HR601/kept_for_a_score",
    "HR601/tuples_in_a_list",
    "HR601/listed_then_averaged",
    "HR603/keeps_the_best",
    "HR603/paths",
    "HR908/own_convolution",
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_converted_fixture_trains_the_same(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, converted = FIXTURES / f"{case}.in.py", tmp_path / "converted.py"
    write(convert(original), converted)
    monkeypatch.chdir(tmp_path)
    # Three: two would cut most batches evenly.
    result = verify(original, converted, workers=3)
    assert result.verdict == "equivalent", result.why
