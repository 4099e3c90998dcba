import gzip
from pathlib import Path

import numpy as np
import pytest

from optimizer.history import (
    History,
    bursty_curve,
    default_history,
    generate,
    read_history,
    resample,
)
from penstock.errors import DomainError, SpecError
from tests.shared_data import shared


def history(*values: float, **fields: object) -> History:
    return History(**{"values_rps": np.array(values), "step_s": 1.0, "source": "test", **fields})


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "5\n0\n7\n"),
        ("a.txt.gz", "5\n0\n7\n"),
        ("words.txt", "5 0 7"),
        ("single.csv", "5\n0\n7\n"),
        ("headed.csv", "rate\n5\n0\n7\n"),
        ("named.csv", "second,raw_rps,other\n0,5,x\n1,0,y\n2,7,z\n"),
    ],
)
def test_a_history_is_read_from_each_kind_of_file(tmp_path: Path, name: str, text: str) -> None:
    found = read_history(written(tmp_path, name, text))
    assert found.values_rps.tolist() == [5.0, 0.0, 7.0]
    assert (found.step_s, found.source, found.left_out_steps) == (1.0, name, 0)


def test_another_column_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "raw_rps,rps_damped_by_8\n80,10\n88,11\n")
    assert read_history(path, column="rps_damped_by_8").values_rps.tolist() == [10.0, 11.0]


def test_long_runs_of_zeros_are_holes_and_short_ones_load(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", " ".join(["5", *"0" * 10, "7", *"0" * 9, "8", *"0" * 12]))
    found = read_history(path)
    assert found.values_rps.tolist() == [5.0, 7.0, *[0.0] * 9, 8.0]
    assert found.left_out_steps == 22


def test_holes_can_be_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "5 " + "0 " * 20)
    assert len(read_history(path, hole_steps=0).values_rps) == 21


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "5 x 7 -1 nan", ["value 2: 'x'", "value 4: '-1'", "value 5: 'nan'"]),
        ("a.csv", "raw_rps,b\n5,1\n\nx,1\n", ["line 4: 'x'"]),
        ("b.csv", "b,raw_rps\n1,5\n1\n", ["line 3: has only 1 columns"]),
        ("c.csv", "a,b\n1,2\n", ["no column 'raw_rps'; there are a, b"]),
        ("d.csv", "raw_rps\n" + "x\n" * 15, ["and 5 more like these"]),
        ("e.txt", "", ["holds no rate"]),
        ("f.csv", "", ["holds no rate"]),
        ("h.csv", "raw_rps\n" + "5" * 200_000, ["is no CSV"]),
        ("g.txt", "5 \u0665", ["no text of numbers"]),
    ],
)
def test_every_fault_of_a_file_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, said: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        read_history(written(tmp_path, name, text))
    assert all(one in str(caught.value) for one in [name, *said])


def test_a_broken_gzip_file_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"5\n" * 1_000)[:-12])
    with pytest.raises(SpecError, match="cannot be read"):
        read_history(path)


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_history(tmp_path / "a.txt")


def test_a_file_that_unpacks_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.history.MAX_BYTES", 1_000)
    with pytest.raises(SpecError, match="more than 1000 bytes"):
        read_history(written(tmp_path, "a.txt.gz", "5\n" * 501))


def test_the_public_trace_is_read_without_its_holes() -> None:
    found = read_history(shared("data/twitter/twitter_2021-08_rps_first17days.txt.gz"))
    assert len(found.values_rps) + found.left_out_steps == 17 * 86_400
    assert found.left_out_steps == 30_717
    assert found.values_rps.min() > 0


def test_a_segment_of_the_paper_is_read_undamped() -> None:
    found = read_history(shared("data/twitter/bursty.csv"))
    assert len(found.values_rps) == 1_200
    assert (found.values_rps // 8).sum() == 14_437


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_history_holds_rates_only(value: float) -> None:
    with pytest.raises(DomainError, match="finite, at least 0"):
        history(1.0, value)


def test_a_history_cannot_be_changed() -> None:
    values = np.array([1.0, 2.0])
    found = History(values_rps=values, step_s=1.0, source="test")
    values[0] = 9
    assert found.values_rps[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        found.values_rps[0] = 9


def test_a_step_must_last_in_a_history() -> None:
    with pytest.raises(DomainError, match="step_s must be above 0"):
        history(1.0, step_s=0.0)


def test_the_digest_follows_the_data_not_its_name() -> None:
    one = history(1.0, 2.0)
    assert one.sha256 == history(1.0, 2.0, source="elsewhere").sha256
    assert one.sha256 != history(1.0, 3.0).sha256
    assert one.sha256 != history(1.0, 2.0, step_s=2.0).sha256


def test_a_part_is_cut_by_time() -> None:
    assert history(*range(6), step_s=10.0).part(20, 40).values_rps.tolist() == [2.0, 3.0]


def test_maxima_and_means_of_blocks() -> None:
    seconds = history(1, 3, 2, 8, 5)
    assert resample(seconds, 2.0).values_rps.tolist() == [3.0, 8.0]
    assert resample(seconds, 2.0, how="mean").values_rps.tolist() == [2.0, 5.0]


def test_compressed_time_makes_ten_seconds_one() -> None:
    found = resample(history(*range(20)), 1.0, compression=10.0)
    assert (found.values_rps.tolist(), found.step_s) == ([9.0, 19.0], 1.0)


@pytest.mark.parametrize(
    ("step_s", "said"), [(1.5, "whole multiple"), (8.0, "less than one block")]
)
def test_blocks_must_fit_the_history(step_s: float, said: str) -> None:
    with pytest.raises(DomainError, match=said):
        resample(history(1, 2, 3), step_s)


def test_a_seed_generates_one_history() -> None:
    assert generate(1, 3_600).sha256 == generate(1, 3_600).sha256
    assert generate(1, 3_600).sha256 != generate(2, 3_600).sha256


def test_a_generated_day_has_a_wave_and_bursts_around_its_mean() -> None:
    minutes = resample(generate(5, 86_400), 60.0, how="mean").values_rps
    hours = minutes.reshape(24, 60).mean(axis=1)
    assert 45 < minutes.mean() < 90
    assert hours.max() > 1.8 * hours.min()
    assert minutes.max() > 2 * np.median(minutes)


def runs_above(curve: tuple[float, ...], height: float) -> int:
    above = np.array([0.0, *curve]) > height
    return int((above[1:] & ~above[:-1]).sum())


@pytest.mark.parametrize("seed", range(20))
def test_a_minutes_curve_has_two_peaks_between_valleys(seed: int) -> None:
    curve = bursty_curve(60, seed)
    assert (len(curve), min(curve), max(curve)) == (60, 0.0, 1.0)
    assert runs_above(curve, 0.7) == runs_above(curve, 0.2) == 2
    assert curve[0] < 0.1
    assert curve[-1] < 0.1
    assert sum(v < 0.1 for v in curve) >= 15


@pytest.mark.parametrize("seed", range(20))
def test_a_minutes_ramps_last_six_to_ten_seconds(seed: int) -> None:
    curve = np.array(bursty_curve(60, seed))
    middle = curve[15:45].argmin() + 15
    for side in (curve[:middle], curve[middle:]):
        rising = side[: side.argmax() + 1] / side.max()
        assert 4 <= (rising > 0.06).sum() - (rising > 0.98).sum() <= 10


def test_a_longer_curve_has_a_peak_each_half_minute() -> None:
    assert runs_above(bursty_curve(300), 0.7) == 10


def test_a_curve_needs_time() -> None:
    with pytest.raises(DomainError, match="at least 10 s"):
        bursty_curve(9)


def test_the_trace_is_the_default_where_it_lies() -> None:
    root = shared("data/twitter").parents[1]
    assert default_history({"PENSTOCK_SHARED": str(root)}).source.startswith("twitter_2021-08")


@pytest.mark.parametrize("environ", [{}, {"PENSTOCK_SHARED": "/nowhere"}])
def test_the_generator_is_the_default_elsewhere(environ: dict[str, str]) -> None:
    assert default_history(environ).source == "generator, seed 7"
