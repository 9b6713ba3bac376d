"""PneumoniaMNIST, COVID-CT and DarkCovidNet: small trees in the originals' layout.

The trees have the oddities of the real files: lists without a last line end and with
Windows line ends, percent signs in names, JPEG files called .png, ids in an XLSX
sheet that sometimes lack the extension, NIH names that are patient_image.
"""

import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from covjax.data.catalog import find
from covjax.data.readers import read_image
from covjax.errors import InputError


def picture(kind="PNG", mode="L", size=(9, 7), value=90) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 20, 30)).save(stream, kind)
    return stream.getvalue()


def xlsx(rows: list[list[str]], *, shared: bool) -> bytes:
    """An Excel file with one sheet; its texts inline or in the shared table."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    texts = [text for row in rows for text in row]
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = ""
        for letter, text in zip("AB", row, strict=True):
            if not text:
                continue  # Excel leaves empty cells out
            reference = f'r="{letter}{number}"'
            if shared:
                cells += f'<c {reference} t="s"><v>{texts.index(text)}</v></c>'
            else:
                cells += f'<c {reference} t="inlineStr"><is><t>{text}</t></is></c>'
        lines.append(f'<row r="{number}">{cells}</row>')
    data = f"<sheetData>{''.join(lines)}</sheetData>"
    sheet = f'<worksheet xmlns="{space}">{data}</worksheet>'
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", sheet)
        if shared:
            items = "".join(f"<si><t>{text}</t></si>" for text in texts)
            book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{space}">{items}</sst>')
    return stream.getvalue()


@pytest.fixture(params=["zip", "folder"])
def covid_ct(tmp_path, request):
    files = {
        "CT_COVID": {
            "2020.02.10.20021584-p6-52%0.png": picture(mode="RGB"),
            "2020.02.10.20021584-p6-52%10.png": picture(),
            "kjr-21-e24-p5-31.png": picture("JPEG"),
            "bmj.m606.full-p4-22%0.png": picture(),
        },
        "CT_NonCOVID": {"14.png": picture(), "7.jpg": picture("JPEG")},
    }
    (tmp_path / "Images-processed").mkdir()
    for name, pictures in files.items():
        if request.param == "zip":
            path = tmp_path / f"Images-processed/{name}.zip"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"{name}/", "")
                archive.writestr(f"__MACOSX/{name}/._14.png", b"junk")
                for file, content in pictures.items():
                    archive.writestr(f"{name}/{file}", content)
        else:
            (tmp_path / "Images-processed" / name).mkdir()
            for file, content in pictures.items():
                (tmp_path / "Images-processed" / name / file).write_bytes(content)
    lists = {
        "COVID/trainCT_COVID.txt": "2020.02.10.20021584-p6-52%0.png\n"
        "2020.02.10.20021584-p6-52%10.png",
        "COVID/valCT_COVID.txt": "bmj.m606.full-p4-22%0.png",
        "COVID/testCT_COVID.txt": "kjr-21-e24-p5-31.png\n",
        "NonCOVID/trainCT_NonCOVID.txt": "",
        "NonCOVID/valCT_NonCOVID.txt": "14.png\r\n",
        "NonCOVID/testCT_NonCOVID.txt": "7.jpg",
    }
    for file, text in lists.items():
        path = tmp_path / "Data-split" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    rows = [
        ["File name", "Patient ID"],
        ["2020.02.10.20021584-p6-52%0.png", "Patient 2"],
        ["2020.02.10.20021584-p6-52%10.png", "Patient 2"],
        ["bmj.m606.full-p4-22%0", "Patient 9"],
        ["kjr-21-e24-p5-31.png", ""],
    ]
    (tmp_path / "COVID-CT-MetaInfo.xlsx").write_bytes(
        xlsx(rows, shared=request.param == "zip")
    )
    (tmp_path / "NonCOVID-CT-MetaInfo.csv").write_text(
        ",image name,patient id\n0,14.png,medpix_patient_3\n1,7.jpg,crawled_patient_7"
    )
    return tmp_path


def test_covid_ct_layout(covid_ct):
    data_set = find("covid_ct")
    examples = data_set.examples(covid_ct)
    found = {
        e.file: (data_set.classes[e.label], e.split, e.patient, e.source)
        for e in examples
    }
    assert found == {
        "CT_NonCOVID/14.png": ("non-COVID", "validation", "medpix_patient_3", "MedPix"),
        "CT_NonCOVID/7.jpg": ("non-COVID", "test", "crawled_patient_7", "web"),
        "CT_COVID/2020.02.10.20021584-p6-52%0.png": (
            *("COVID-19", "train", "Patient 2", "preprints"),
        ),
        "CT_COVID/2020.02.10.20021584-p6-52%10.png": (
            *("COVID-19", "train", "Patient 2", "preprints"),
        ),
        "CT_COVID/bmj.m606.full-p4-22%0.png": (
            *("COVID-19", "validation", "Patient 9", "preprints"),
        ),
        "CT_COVID/kjr-21-e24-p5-31.png": ("COVID-19", "test", "", "preprints"),
    }
    for example in examples:
        assert read_image(example.open(), name=example.file).array.shape[:2] == (7, 9)


def test_covid_ct_without_tables_has_unknown_patients(covid_ct):
    for name in ("COVID-CT-MetaInfo.xlsx", "NonCOVID-CT-MetaInfo.csv"):
        (covid_ct / name).unlink()
    assert {e.patient for e in find("covid_ct").examples(covid_ct)} == {""}


def test_covid_ct_damage_is_told_in_one_line(covid_ct):
    table = covid_ct / "NonCOVID-CT-MetaInfo.csv"
    table.write_text("image name,who\n14.png,3\n")
    with pytest.raises(InputError, match=r"no column 'patient id'; found image name"):
        find("covid_ct").examples(covid_ct)
    table.unlink()
    (covid_ct / "COVID-CT-MetaInfo.xlsx").write_bytes(b"PK not a zip")
    with pytest.raises(InputError, match="not a readable XLSX"):
        find("covid_ct").examples(covid_ct)
    (covid_ct / "COVID-CT-MetaInfo.xlsx").unlink()
    (covid_ct / "Data-split/COVID/valCT_COVID.txt").unlink()
    with pytest.raises(InputError, match=r"has no Data-split/COVID/valCT_COVID\.txt"):
        find("covid_ct").examples(covid_ct)


def test_a_damaged_zip_is_told_in_one_line(covid_ct):
    shutil.rmtree(covid_ct / "Images-processed/CT_NonCOVID", ignore_errors=True)
    archive = covid_ct / "Images-processed/CT_NonCOVID.zip"
    archive.write_bytes(b"PK\3\4 and then nothing")
    with pytest.raises(InputError, match=r"CT_NonCOVID\.zip: not a readable ZIP"):
        find("covid_ct").examples(covid_ct)


def darkcovidnet(root):
    names = {
        "Covid-19": ["nejmc2001573_f1a.jpg", "lancet-case2b.jpg", ".DS_Store"],
        "No_findings": ["00000013_005.jpg", "00000013_006.jpg"],
        "Pneumonia": ["00010007_153.jpg", "Thumbs.db"],
    }
    for folder, files in names.items():
        (root / folder).mkdir(parents=True)
        for file in files:
            (root / folder / file).write_bytes(picture("JPEG"))
    return root


def test_darkcovidnet_layout(tmp_path):
    root = darkcovidnet(tmp_path / "darkcovidnet")
    data_set = find("darkcovidnet")
    examples = data_set.examples(tmp_path)  # the folder above is enough
    assert [(e.file, data_set.classes[e.label], e.patient) for e in examples] == [
        ("No_findings/00000013_005.jpg", "normal", "NIH 00000013"),
        ("No_findings/00000013_006.jpg", "normal", "NIH 00000013"),
        ("Pneumonia/00010007_153.jpg", "pneumonia", "NIH 00010007"),
        ("Covid-19/lancet-case2b.jpg", "COVID-19", ""),
        ("Covid-19/nejmc2001573_f1a.jpg", "COVID-19", ""),
    ]
    (root / "metadata.csv").write_text(
        "patientid,finding,filename, url\n6,COVID-19,lancet-case2b.jpeg,u\n"
    )
    assert [e.patient for e in data_set.examples(root)][3:] == ["Cohen 6", ""]


def test_darkcovidnet_with_an_empty_class(tmp_path):
    root = darkcovidnet(tmp_path / "set")
    (root / "Pneumonia/00010007_153.jpg").unlink()
    with pytest.raises(InputError, match="Pneumonia: has no pictures"):
        find("darkcovidnet").examples(root)


def pneumonia_mnist(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for key, count in [("train", 3), ("val", 2), ("test", 1)]:
        arrays[f"{key}_images"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{key}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, None]
    arrays.update(changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def test_pneumonia_mnist_layout(tmp_path):
    path = tmp_path / "pneumoniamnist/pneumoniamnist.npz"
    arrays = pneumonia_mnist(path)
    examples = find("pneumonia_mnist").examples(tmp_path)
    assert [(e.file, e.label, e.split) for e in examples] == [
        ("train/00000.png", 0, "train"),
        ("train/00001.png", 1, "train"),
        ("train/00002.png", 0, "train"),
        ("val/00000.png", 0, "validation"),
        ("val/00001.png", 1, "validation"),
        ("test/00000.png", 0, "test"),
    ]
    decoded = read_image(examples[4].open()).array
    np.testing.assert_array_equal(decoded, arrays["val_images"][1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val_labels": None}, "has no array val_labels"),
        ({"val_labels": np.array([[0], [7]])}, r"val_labels\[1\]=7: must be 0 or 1"),
        ({"val_labels": np.zeros((9, 1))}, "2, 28, 28.* and 9 labels"),
        ({"val_images": np.zeros((2, 28, 28))}, "must be uint8"),
        ({"val_images": np.array([{}, {}], object)}, "damaged NPZ"),
    ],
)
def test_a_wrong_npz_is_told_in_one_line(tmp_path, change, words):
    pneumonia_mnist(tmp_path / "pneumoniamnist.npz", **change)
    with pytest.raises(InputError, match=words):
        find("pneumonia_mnist").examples(tmp_path)


def test_a_truncated_npz_is_told_in_one_line(tmp_path):
    path = tmp_path / "pneumoniamnist.npz"
    pneumonia_mnist(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged NPZ"):
        find("pneumonia_mnist").examples(tmp_path)


def test_the_real_files(data_dir):
    counts = {"covid_ct": 746, "darkcovidnet": 1124, "pneumonia_mnist": 5856}
    table = (data_dir / "covid_ct/NonCOVID-CT-MetaInfo.csv").read_text().splitlines()
    others = len({line.rsplit(",")[-1] for line in table[1:]})
    # 213 ids in the XLSX sheet; the repository's README says 216 patients
    patients = {"covid_ct": 213 + others, "darkcovidnet": 683, "pneumonia_mnist": 1}
    for name, count in counts.items():
        examples = find(name).examples(data_dir)
        assert len(examples) == count
        assert len({e.patient for e in examples}) == patients[name]
        assert read_image(examples[-1].open()).array.size
    official = [e.split for e in find("covid_ct").examples(data_dir)]
    assert [official.count(s) for s in ("train", "validation", "test")] == [
        *(425, 118, 203),
    ]
