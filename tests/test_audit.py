import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covjax import audit
from covjax.errors import InputError

RECIPE = str(Path(__file__).resolve().parents[1] / "configs" / "densenet.py")
SMALL = ["--config.data.size=32", "--config.data.kwargs.patients=60"]


def test_a_recipe_is_audited(tmp_path, capsys):
    words = ["--config", RECIPE, *SMALL, "--out", str(tmp_path / "out")]
    assert audit.main([*words, "--config.data.kwargs.shortcut=copies"]) == 0
    printed = capsys.readouterr().out
    assert "ALARM" in printed
    assert "control: source" in printed
    assert "class   covid19" in printed  # of the table of sizes and exposure
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert record["data"] == "phantom"
    assert record["card"]["licence"]
    assert record["alarms"] >= 1
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "audit.html",
        "audit.json",
    ]


def test_an_overlapping_official_split_is_shown_not_refused(tmp_path):
    """`covjax.train` refuses such a set; the audit is there to look at it."""
    from PIL import Image

    from covjax.data.phantom import phantom

    drawn = phantom(32, patients=24, pictures_per_patient=(2, 2))
    lines = ["path,label,patient,split"]
    for row in range(len(drawn)):
        Image.fromarray(drawn.images[row, ..., 0]).save(tmp_path / f"{row}.png")
        split = ("train", "test")[row % 2]
        label = drawn.class_names[drawn.labels[row]]
        lines.append(f"{row}.png,{label},{drawn.patients[row]},{split}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    words = [
        "--config", f"{RECIPE}:folder", "--dir", str(tmp_path),
        "--config.data.manifest", str(tmp_path / "list.csv"),
        "--config.data.size=32", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert audit.main(words) == 0
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert record["verdict"]["verdict"] == "violated"
    assert record["findings"][0]["level"] == "alarm"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "either --config"),
        (["--config", RECIPE, "--data", "phantom"], "either --config"),
        (["--data", "phantom", "--config.data.size=3"], "--config alone"),
        (["--data", "covid_cct"], "covid_ct"),
        (["--data", "covid_ct", "--dir", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(words, part):
    with pytest.raises(InputError) as caught:
        audit.main(words)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_comes_at_once():
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "covjax.audit", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        best = min(best, time.perf_counter() - start)
    assert "--data NAME" in done.stdout
    assert best < 1.0


def test_covid_ct_is_audited_within_its_time(data_dir, tmp_path):
    """Two minutes for 1,100 pictures; what is known of this set is found."""
    out = tmp_path / "out"
    start = time.perf_counter()
    words = ["--config", f"{RECIPE}:covid_ct", "--dir", str(data_dir)]
    assert audit.main([*words, "--config.data.size=128", "--out", str(out)]) == 0
    assert time.perf_counter() - start < 120
    record = json.loads((out / "audit.json").read_text())
    controls = {control["name"]: control for control in record["controls"]}
    assert controls["source"]["auc"]["estimate"] == 1.0
    assert controls["header"]["alarm"]
    # the same slice is non-COVID in training and COVID-19 in the test split
    conflict = {"CT_NonCOVID/71%0.jpg", "CT_COVID/kjr-21-e24-p5-29.png"}
    assert conflict in [set(pair["files"]) for pair in record["duplicates"]["pairs"]]
