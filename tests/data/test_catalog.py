"""The table of data sets: complete, honest about what was checked, helpful."""

import pytest

from covjax.data.builders._base import NOT_SEEN
from covjax.data.catalog import CATALOG, default_dir, find
from covjax.errors import InputError

TABLE_3 = (
    *("aiforcovid", "mosmed", "sirm", "radiopaedia", "bsti", "covid_ct"),
    *("coronacases", "eurorad", "covid_chestxray", "ct_segmentation_1"),
    *("ct_segmentation_2", "ct_segmentation_3"),
)
TABLE_2 = (
    *("darkcovidnet", "figure1", "actualmed", "covidx", "chest_xray_pneumonia"),
    *("covid19_radiography", "islam", "nih_chestxray14", "rsna_pneumonia"),
    "pneumonia_mnist",
)
SEEN = ("covid_ct", "darkcovidnet", "pneumonia_mnist")


def test_every_set_of_the_survey_is_there():
    assert list(CATALOG)[: len(TABLE_3)] == list(TABLE_3)
    assert set(TABLE_2) <= set(CATALOG)


@pytest.mark.parametrize("name", CATALOG)
def test_every_card_is_filled(name):
    card = CATALOG[name]
    assert card.name == name
    for field in ("title", "size", "file_format", "licence", "citation", "get"):
        assert getattr(card, field).strip() == getattr(card, field) != ""
    for field in ("patient_rule", "source_rule", "checked"):
        assert getattr(card, field)
    assert card.modality in ("X-ray", "CT", "X-ray and CT")
    assert card.home.startswith("http")
    assert len(set(card.classes)) == len(card.classes) >= 1
    assert card.needs  # what tells whether it is on this disk
    assert (card.checked == NOT_SEEN) == (name not in SEEN)


def test_unknown_names_show_near_ones():
    with pytest.raises(InputError, match="did you mean covid_ct"):
        find("covidct")
    with pytest.raises(InputError, match=r"see python -m covjax\.data"):
        find("zebra")


@pytest.mark.parametrize("name", CATALOG)
def test_an_empty_folder_says_what_is_missing_and_how_to_get_it(name, tmp_path):
    card = CATALOG[name]
    with pytest.raises(InputError) as caught:
        card.examples(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: has no ")
    assert message.endswith(card.get)
    assert "\n" not in message
    with pytest.raises(InputError, match="no such folder"):
        card.examples(tmp_path / "none")


def test_unknown_options_name_the_known_ones(tmp_path):
    with pytest.raises(
        InputError, match="'slice' is not an option of mosmed; known: s"
    ):
        find("mosmed").examples(tmp_path, slice=3)
    with pytest.raises(InputError, match=r"of sirm; known: modality$"):
        find("sirm").examples(tmp_path, source="elsewhere")


def test_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("COVJAX_DATA_DIR", str(tmp_path))
    assert default_dir("covid_ct") == tmp_path / "covid_ct"
    monkeypatch.delenv("COVJAX_DATA_DIR")
    assert default_dir("covid_ct").parts[-4:] == (
        ".cache",
        "covjax",
        "data",
        "covid_ct",
    )
