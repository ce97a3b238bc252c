"""The fitted coefficients of images and speech: possible, honest about their errors, and what the fit writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.catalog.media_coefficients import image_coefficients, of_images, speech_coefficients
from workbench.errors import UnknownName


def test_fractions_are_fractions() -> None:
    for images in image_coefficients().values():
        assert all(0 < share <= 1 for share in (*images.utilisation.values(), images.bandwidth_efficiency))
        assert images.compiled_traffic < 1 and images.compiled_host_s < images.host_s
    for speech in speech_coefficients().values():
        assert 0 < speech.utilisation <= 1 and 0 < speech.bandwidth_efficiency < 1.1


def test_intervals_hold_the_prediction() -> None:
    records = [*image_coefficients().values(), *speech_coefficients().values()]
    for spread in (spread for record in records for spread in record.spreads.values()):
        assert 0.1 < spread.low < 1 < spread.high < 6


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(UnknownName, match="diffusers on metal"):
        of_images("diffusers", "metal")


@pytest.mark.slow
def test_the_committed_coefficients_are_what_the_fit_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import fit_media

    committed = fit_media.CATALOG
    monkeypatch.setattr(fit_media, "CATALOG", tmp_path)
    result = fit_media.run()
    for file in ("image_coefficients.yaml", "speech_coefficients.yaml"):
        assert (tmp_path / file).read_text() == (committed / file).read_text()
    assert result["images"]["speed"]["all"]["mean_over_devices"] < 0.15
    assert result["images"]["memory"]["autoencoder, decode"]["mean"] < 0.05
