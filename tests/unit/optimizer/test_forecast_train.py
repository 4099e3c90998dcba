import hashlib
import sys
from pathlib import Path

import pytest

from optimizer.forecast.card import CARD_FILE, MODEL_FILE, LstmConfig, ModelCard
from optimizer.forecast.lstm import LstmForecaster
from optimizer.forecast.train import split, train_to_folder
from optimizer.history import History, generate
from penstock.domain import Load
from penstock.errors import ArtifactError, DomainError, MissingToolError
from tests.forecaster_folders import handmade, trained

TINY = LstmConfig(step_s=1.0, window_steps=4, horizon_steps=2, units=2, epochs=2)


def constant(rate_rps: float, steps: int = 100) -> History:
    return History(values_rps=[rate_rps] * steps, step_s=1.0, source="test")  # type: ignore[arg-type]


def rates(folder: Path, *values: float) -> list[float]:
    load = Load(values_rps=values, step_s=1.0, end_s=0.0)
    made = LstmForecaster(folder).forecast(load)
    return [made.load_rps, *made.quantiles_rps.values()]


@pytest.mark.slow
def test_a_trained_folder_holds_weights_and_a_card_that_fits() -> None:
    folder = trained()
    card = ModelCard.read(folder)
    assert sorted(p.name for p in folder.parent.iterdir()) == [folder.name]
    assert sorted(p.name for p in folder.iterdir()) == [CARD_FILE, MODEL_FILE]
    assert card.model_sha256 == hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
    assert card.data_sha256 == generate(3, 12 * 3600).sha256
    assert (card.trained_until_s, card.history_s) == (34_560.0, 43_200.0)


@pytest.mark.slow
def test_training_beats_what_it_is_held_against() -> None:
    scores = {s["forecaster"]: s for s in ModelCard.read(trained()).scores}
    assert set(scores) == {"lstm", "last", "max"}
    assert scores["lstm"]["smape_pct"] < 0.9 * scores["last"]["smape_pct"]
    assert 0.88 < scores["lstm"]["coverage"]["0.95"] <= 1


@pytest.mark.slow
def test_a_model_trained_at_one_scale_works_at_another() -> None:
    small = rates(trained(), 50, 60, 55, 70, 65, 60)
    large = rates(trained(), *(1_000 * v for v in (50, 60, 55, 70, 65, 60)))
    assert large == pytest.approx([1_000 * v for v in small], rel=1e-3)


@pytest.mark.slow
def test_without_load_none_is_expected() -> None:
    assert rates(trained(), 0, 0, 0, 0, 0, 0) == pytest.approx([0.0] * 5, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("values", [(10, 20, 40, 60, 80, 100), (0, 0, 0, 0, 0, 500)])
def test_quantiles_never_cross(values: tuple[float, ...]) -> None:
    _, *quantiles = rates(trained(), *values)
    assert quantiles == sorted(quantiles)


@pytest.mark.slow
def test_a_seed_gives_one_forecaster_and_epochs_are_told(tmp_path: Path) -> None:
    told = []
    history = generate(1, 2_000)
    for name in ("a", "b"):
        train_to_folder(history, TINY, tmp_path / name, lambda *what: told.append(what))
    assert rates(tmp_path / "a", 5, 9, 7, 8) == rates(tmp_path / "b", 5, 9, 7, 8)
    assert [done for done, _, _ in told[: len(told) // 2]] == [0, 1, 2, 2, 3, 4]
    assert {total for _, total, _ in told} == {4}
    assert told[1][2].startswith("epoch 1, loss 0.")


@pytest.mark.slow
def test_an_older_forecaster_is_replaced(tmp_path: Path) -> None:
    out = handmade(tmp_path / "lstm")
    card = train_to_folder(generate(1, 2_000), TINY, out)
    assert ModelCard.read(out) == card
    assert [p.name for p in tmp_path.iterdir()] == ["lstm"]


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        train_to_folder(generate(1, 2_000), TINY, tmp_path / "file" / "lstm")


@pytest.mark.slow
def test_an_interrupted_training_leaves_the_old_forecaster_and_nothing_else(tmp_path: Path) -> None:
    out = handmade(tmp_path / "lstm")
    before = (out / CARD_FILE).read_bytes()

    def interrupt(done: int, total: int, note: str) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_to_folder(generate(1, 2_000), TINY, out, interrupt)
    assert (out / CARD_FILE).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["lstm"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is no forecaster"):
        train_to_folder(constant(5.0), TINY, tmp_path)


def test_a_history_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="a window and its horizon need 6"):
        train_to_folder(constant(5.0, steps=6), TINY, tmp_path / "lstm")


def test_a_history_without_load_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="nothing to learn"):
        train_to_folder(constant(0.0), TINY, tmp_path / "lstm")
    assert not (tmp_path / "lstm").exists()


def test_a_missing_training_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingToolError, match="Keras"):
        train_to_folder(constant(5.0), TINY, tmp_path / "lstm")


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_something_must_be_held_out_and_something_trained_on(share: float) -> None:
    with pytest.raises(DomainError, match="holdout_share"):
        split(constant(5.0), share)


def test_the_parts_of_a_history_follow_each_other() -> None:
    past, rest = split(generate(1, 1_000), 0.25)
    assert [len(p.values_rps) for p in (past, rest)] == [750, 250]
    assert [*past.values_rps, *rest.values_rps] == generate(1, 1_000).values_rps.tolist()
