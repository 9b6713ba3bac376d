"""X-ray sets of the catalog, each on a small tree in its published layout.

None of the originals could be fetched where this was written: the trees follow what
the sets' homes, papers and published code say of names, columns and encodings.
"""

import io
import json
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from covjax.data.catalog import find
from covjax.data.readers import read_image
from covjax.errors import InputError

SPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def write(root, *names, value=80):
    """Pictures of any kind by their names; the content follows the extension."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".dcm":
            path.write_bytes(dicom(value))
        else:
            Image.new("L", (8, 6), value).save(
                path, "PNG" if path.suffix == ".png" else "JPEG"
            )


def dicom(value: int) -> bytes:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2"
    header.Rows, header.Columns, header.SamplesPerPixel = 6, 8, 1
    header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.PixelData = bytes([value]) * 48
    header["PixelData"].VR = "OB"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, header, enforce_file_format=True)
    return stream.getvalue()


def write_xlsx(path, rows):
    """An Excel sheet as Excel writes it: shared texts, numbers as they are."""
    texts = sorted({str(c) for row in rows for c in row if isinstance(c, str) and c})
    lines = ""
    for number, row in enumerate(rows, start=1):
        cells = ""
        for column, cell in enumerate(row):
            place = f'r="{chr(65 + column)}{number}"'
            if isinstance(cell, str) and cell:
                cells += f'<c {place} t="s"><v>{texts.index(cell)}</v></c>'
            elif cell != "":
                cells += f"<c {place}><v>{cell}</v></c>"
        lines += f'<row r="{number}">{cells}</row>'
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    with zipfile.ZipFile(path, "w") as book:
        sheet = f'<worksheet xmlns="{SPACE}"><sheetData>{lines}</sheetData></worksheet>'
        book.writestr("xl/worksheets/sheet1.xml", sheet)
        book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{SPACE}">{shared}</sst>')


def listed(name, root, *fields, **options):
    """Chosen fields of every example; each must decode and have a valid label."""
    data_set = find(name)
    examples = data_set.examples(root, **options)
    for example in examples:
        assert read_image(example.open(), name=example.file).array.shape[:2] == (6, 8)
        if data_set.multi_label:
            assert len(example.label) == len(data_set.classes)
        else:
            assert 0 <= example.label < len(data_set.classes)
        assert example.split in ("", "train", "validation", "test")
    return [tuple(getattr(e, field) for field in ("file", *fields)) for e in examples]


def test_aiforcovid(tmp_path):
    write(tmp_path, "imgs/P_1.dcm", "imgs/P_10.dcm", "imgs_r2/P_900.dcm")
    head = ["ImageFile", "Hospital", "Age", "Sex", "Temp_C", "Prognosis", "Death"]
    rows = [
        head,
        ["P_1", "A", 63.0, 0, 37.5, "MILD", 0],
        ["P_10.dcm", "F", 71.0, 1, "", "SEVERE", 1],
        ["P_11", "F", 50.0, 1, "", "", ""],  # the outcome is withheld
    ]
    write_xlsx(tmp_path / "AIforCOVID.xlsx", rows)
    write_xlsx(
        tmp_path / "AIforCOVID_r2.xlsx", [head, ["P_900", "C", 40, 1, "", "MILD ", 0]]
    )
    assert listed("aiforcovid", tmp_path, "label", "patient", "source", "metadata") == [
        ("imgs/P_1.dcm", 0, "P_1", "A", {"age": "63.0", "sex": "0"}),
        ("imgs/P_10.dcm", 1, "P_10", "F", {"age": "71.0", "sex": "1"}),
        ("imgs_r2/P_900.dcm", 0, "P_900", "C", {"age": "40", "sex": "1"}),
    ]
    (tmp_path / "imgs/P_10.dcm").unlink()
    with pytest.raises(InputError, match=r"AIforCOVID\.xlsx: P_10\.dcm is not in imgs"):
        find("aiforcovid").examples(tmp_path)


COHEN = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,went_icu,view,"
    "modality,date,location,folder,filename,doi, url,license,clinical_notes,"
    "other_notes\n"
)


def test_covid_chestxray(tmp_path):
    write(tmp_path / "images", "a.jpg", "b.jpeg", "c.png", "d.jpg", "e.jpg", "f.jpg")
    url = "https://www.sirm.org/2020/03/08/caso-1"
    (tmp_path / "metadata.csv").write_text(
        COHEN
        + "2,0,M,65,Pneumonia/Viral/COVID-19,Y,Y,N,N,PA,X-ray,2020,"
        + f'"Cho Ray Hospital, Vietnam",images,a.jpg,10.1,{url},CC BY-NC-SA,'
        + '"cough,\nfever",\n'
        + "3,4,F,,Pneumonia/Viral/SARS,,,,,AP Supine,X-ray,2004,,images,b.jpeg,,"
        + "https://radiopaedia.org/cases/1,,,\n"
        + "5,,,,No Finding,,,,,AP,X-ray,,,images,c.png,,,Apache-2.0,,\n"
        + "6,,,,Tuberculosis,,,,,PA,X-ray,,,images,d.jpg,,,,,\n"
        + "2,3,M,65,Pneumonia/Viral/COVID-19,,,,,L,X-ray,,,images,e.jpg,,,,,\n"
        + "7,,,,Pneumonia/Viral/COVID-19,,,,,Axial,CT,,,volumes,v.nii.gz,,,,,\n"
        + "8,,,,Pneumonia,,,,,PA,X-ray,,,images,f.jpg,,,,,\n",
        encoding="utf-8",
    )
    assert listed("covid_chestxray", tmp_path, "label", "patient", "source") == [
        ("images/a.jpg", 2, "Cohen 2", "sirm.org"),
        ("images/b.jpeg", 1, "Cohen 3", "radiopaedia.org"),
        ("images/c.png", 0, "Cohen 5", ""),
        ("images/f.jpg", 1, "Cohen 8", ""),
    ]
    lateral = listed("covid_chestxray", tmp_path, "metadata", views=("L",))
    assert lateral == [
        (
            "images/e.jpg",
            {
                "sex": "M",
                "age": "65",
                "view": "L",
                "licence": "",
                "finding": "Pneumonia/Viral/COVID-19",
            },
        )
    ]
    (tmp_path / "images/f.jpg").unlink()
    with pytest.raises(InputError, match=r"f\.jpg: named in a table of the set, but"):
        find("covid_chestxray").examples(tmp_path)


def test_a_table_cannot_lead_out_of_the_folder(tmp_path):
    write(tmp_path, "secret.jpg", "set/images/a.jpg")
    (tmp_path / "set/metadata.csv").write_text(
        COHEN + "1,,,,No Finding,,,,,PA,X-ray,,,images,../../secret.jpg,,,,,\n"
    )
    with pytest.raises(InputError, match=r"secret\.jpg: named in a table"):
        find("covid_chestxray").examples(tmp_path / "set")


def test_figure1(tmp_path):
    write(
        tmp_path / "images", "COVID-00001.jpg", "COVID-00003a.png", "COVID-00003b.jpg"
    )
    (tmp_path / "metadata.csv").write_bytes(
        b"patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,"
        b"modality,artifacts/distortion,notes\n"
        b'COVID-00001,13,M,33,COVID-19,,,58,AP erect,X-ray,,"39\xb0C, dry cough"\n'
        b"COVID-00002,,M,50+,,,,,AP erect,X-ray,,no finding yet\n"
        b"COVID-00003a,8,M,28,Pneumonia,,39.1,90,AP erect,X-ray,,\n"
        b"COVID-00003b,8,M,28,No finding,,,,PA,X-ray,,\n"
    )
    assert listed("figure1", tmp_path, "label", "patient") == [
        ("images/COVID-00001.jpg", 2, "Figure1 COVID-00001"),
        ("images/COVID-00003a.png", 1, "Figure1 COVID-00003"),
        ("images/COVID-00003b.jpg", 0, "Figure1 COVID-00003"),
    ]
    (tmp_path / "images/COVID-00001.jpg").unlink()
    with pytest.raises(InputError, match="images: has no picture COVID-00001"):
        find("figure1").examples(tmp_path)


def test_actualmed(tmp_path):
    names = [f"CR.1.2.840.113564.{n}.1003000225002.png" for n in range(3)]
    write(tmp_path / "images", *names)
    (tmp_path / "metadata.csv").write_text(
        "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,"
        "modality,imagename,artifacts/distortion,notes\n"
        f'ANON196,,,,,,,,PA,X-ray,{names[0]},,"Inconclusive, date taken: 20200313"\n'
        f"ANON56,,,,No finding,,,,PA,X-ray,{names[1]},,Negative\n"
        f"ANON196,,,,COVID-19,,,,AP,X-ray,{names[2]},,\n"
    )
    assert listed("actualmed", tmp_path, "label", "patient", "metadata") == [
        (f"images/{names[1]}", 0, "Actualmed ANON56", {"view": "PA"}),
        (f"images/{names[2]}", 1, "Actualmed ANON196", {"view": "AP"}),
    ]


def test_islam(tmp_path):
    root = "COVID19_Pneumonia_Normal_Chest_Xray_PA_Dataset"
    names = ("covid/COVID-19 (89).jpg", "normal/Normal (1).png", "pneumonia/p (2).jpg")
    write(tmp_path, *(f"{root}/{name}" for name in names), f"{root}/metadata.csv.png")
    expected = [(names[1], 0, ""), (names[2], 1, ""), (names[0], 2, "")]
    assert listed("islam", tmp_path, "label", "patient") == expected
    assert listed("islam", tmp_path / root, "label", "patient") == expected


def test_nih_chestxray14(tmp_path):
    write(
        tmp_path,
        *("images_001/images/00000001_000.png", "images_001/images/00000001_001.png"),
        *("images_002/images/00030801_001.png", "images/00000002_000.png"),
    )
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.1,0.1,\n"
        "00000002_000.png,No Finding,0,2,081Y,M,AP,2500,2048,0.171,0.171,\n"
        "00000003_000.png,Hernia,0,3,081Y,F,PA,2582,2991,0.143,0.143,\n"
        "00030801_001.png,Mass|Pneumonia,1,30801,039Y,M,PA,2048,2500,0.168,0.168,"
    )
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    found = listed("nih_chestxray14", tmp_path, "label", "patient", "split")
    classes = find("nih_chestxray14").classes
    named = [
        (file, {c for c, on in zip(classes, label, strict=True) if on}, patient, split)
        for file, label, patient, split in found
    ]
    assert named == [
        ("00000001_000.png", {"Cardiomegaly"}, "NIH 00000001", "train"),
        ("00000001_001.png", {"Cardiomegaly", "Emphysema"}, "NIH 00000001", "train"),
        ("00000002_000.png", set(), "NIH 00000002", "test"),
        ("00030801_001.png", {"Mass", "Pneumonia"}, "NIH 00030801", ""),
    ]
    table = tmp_path / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("|Emphysema", "|Typo"))
    with pytest.raises(InputError, match=r"00000001_001\.png has the finding 'Typo'"):
        find("nih_chestxray14").examples(tmp_path)


RSNA = tuple(f"0004cfab-14fd-4e49-80ba-63a80b6bdd{n}" for n in ("d0", "d1", "d2"))
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def test_rsna_pneumonia(tmp_path):
    write(tmp_path / "stage_2_train_images", *(f"{number}.dcm" for number in RSNA))
    (tmp_path / "stage_2_detailed_class_info.csv").write_text(
        "patientId,class\n"
        f"{RSNA[0]},No Lung Opacity / Not Normal\n"
        f"{RSNA[1]},Lung Opacity\n"
        f"{RSNA[1]},Lung Opacity\n"  # once for each box
        f"{RSNA[2]},Normal\n"
    )
    expected = [1, 2, 0]
    found = listed("rsna_pneumonia", tmp_path, "label", "patient")
    assert found == [(f"{n}.dcm", k, "") for n, k in zip(RSNA, expected, strict=True)]
    (tmp_path / MAPPING).write_text(
        json.dumps([{"img_id": "00013774_026.png", "subset_img_id": RSNA[1]}])
    )
    patients = [row[1] for row in listed("rsna_pneumonia", tmp_path, "patient")]
    assert patients == ["", "NIH 00013774", ""]
    (tmp_path / MAPPING).write_text("[1]")
    with pytest.raises(InputError, match="not RSNA's mapping"):
        find("rsna_pneumonia").examples(tmp_path)


def test_chest_xray_pneumonia(tmp_path):
    names = (
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0383-0001.jpeg",
        "train/PNEUMONIA/person1000_virus_1681.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
    )
    write(tmp_path / "chest_xray", *names)
    (tmp_path / "chest_xray/train/NORMAL/.DS_Store").write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    found = listed("chest_xray_pneumonia", tmp_path, "label", "patient", "split")
    assert [row[0] for row in found] == list(names)
    assert [row[1] for row in found] == [0, 0, 1, 1, 0, 1, 0, 1]
    patients = "IM-0115 NORMAL2-IM-0383 person1000 person1 NORMAL2-IM-1427 person1946"
    patients = [f"Guangzhou {p}" for p in [*patients.split(), "IM-0001", "person1"]]
    assert [row[2] for row in found] == patients
    assert [row[3] for row in found] == [
        *(["train"] * 4 + ["validation"] * 2 + ["test"] * 2),
    ]
    causes = listed("chest_xray_pneumonia_causes", tmp_path, "label")
    assert [label for _, label in causes] == [0, 0, 2, 1, 0, 1, 0, 2]
    write(tmp_path, "chest_xray/test/PNEUMONIA/unnamed.jpeg")
    with pytest.raises(InputError, match="does not tell the cause"):
        find("chest_xray_pneumonia_causes").examples(tmp_path)


def test_covid19_radiography_version_1(tmp_path):
    root = tmp_path / "COVID-19 Radiography Database"
    write(root, "COVID-19/COVID-19 (1).png", "COVID-19/COVID-19(33).png")
    write(root, "NORMAL/NORMAL (1).png", "Viral Pneumonia/Viral Pneumonia (7).png")
    write_xlsx(
        root / "COVID-19.metadata.xlsx",
        [
            ["FILE NAME", "FORMAT", "SIZE", "URL"],
            ["COVID-19 (1)", "PNG", "1024*1024", "https://www.sirm.org/en/case-1/"],
            ["COVID-19(33)", "PNG", "1024*1024", "twitter"],
        ],
    )
    assert listed("covid19_radiography_v1", tmp_path, "label", "source", "patient") == [
        ("NORMAL/NORMAL (1).png", 0, "", ""),
        ("Viral Pneumonia/Viral Pneumonia (7).png", 1, "", ""),
        ("COVID-19/COVID-19 (1).png", 2, "www.sirm.org", ""),
        ("COVID-19/COVID-19(33).png", 2, "twitter", ""),
    ]


def test_covid19_radiography_later(tmp_path):
    root = tmp_path / "COVID-19_Radiography_Dataset"
    for name in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        write(root / name, f"images/{name}-1.png", f"images/{name}-2.png")
        mask = np.zeros((5, 5, 3), np.uint8)
        mask[1:4, 2] = 255
        (root / name / "masks").mkdir()
        Image.fromarray(mask).save(root / name / f"masks/{name}-1.png")
        write_xlsx(
            root / f"{name}.metadata.xlsx",
            [
                ["FILE NAME", "FORMAT", "SIZE", "URL"],
                [f"{name.upper()}-1", "PNG", "256*256", "https://rsna.org/x"],
            ],
        )
    found = listed("covid19_radiography", tmp_path, "label", "source")
    assert found[:2] == [
        ("Normal/Normal-1.png", 0, "rsna.org"),
        ("Normal/Normal-2.png", 0, ""),
    ]
    assert [row[1] for row in found] == [0, 0, 1, 1, 2, 2, 3, 3]
    first, second = find("covid19_radiography").examples(tmp_path)[:2]
    expected = np.zeros((5, 5), np.uint8)
    expected[1:4, 2] = 1  # LUNG
    np.testing.assert_array_equal(read_image(first.mask()).array, expected)
    assert second.mask is None


def covidx_sources(root):
    """The sources side by side, each with one listed picture."""
    write(root, "covid-chestxray-dataset/images/SARS-10.1148rg-day0.jpeg")
    write(root, "Figure1-COVID-chestxray-dataset/images/COVID-00003a.jpg")
    write(root, "Actualmed-COVID-chestxray-dataset/images/CR.1.2.png")
    write(root, "COVID-19 Radiography Database/COVID-19/COVID-19 (20).png")
    rsna = "rsna-pneumonia-detection-challenge/stage_2_train_images"
    write(root, *(f"{rsna}/{number}.dcm" for number in RSNA[:2]))


def test_covidx_from_its_sources(tmp_path):
    covidx_sources(tmp_path)
    (tmp_path / "train_COVIDx5.txt").write_text(
        "3 SARS-10.1148rg-day0.jpeg pneumonia\n"
        "COVID-00003a COVID-00003a.jpg COVID-19\n"
        "COVID-19(20) COVID-19(20).png COVID-19\n"
        f"{RSNA[0]} {RSNA[0]}.png normal"
    )
    (tmp_path / "test_COVIDx5.txt").write_text(
        f"ANON56 CR.1.2.png COVID-19 actmed\n{RSNA[1]} {RSNA[1]}.png pneumonia rsna\n"
    )
    (tmp_path / MAPPING).write_text(
        json.dumps([{"img_id": "00000045_001.png", "subset_img_id": RSNA[1]}])
    )
    found = listed("covidx", tmp_path, "label", "patient", "source", "split")
    assert found == [
        ("train/SARS-10.1148rg-day0.jpeg", 1, "COVIDx 3", "cohen", "train"),
        ("train/COVID-00003a.jpg", 2, "COVIDx COVID-00003a", "fig1", "train"),
        ("train/COVID-19(20).png", 2, "COVIDx COVID-19(20)", "sirm", "train"),
        (f"train/{RSNA[0]}.png", 0, "", "rsna", "train"),
        ("test/CR.1.2.png", 2, "COVIDx ANON56", "actmed", "test"),
        (f"test/{RSNA[1]}.png", 1, "NIH 00000045", "rsna", "test"),
    ]
    (tmp_path / "train_COVIDx3.txt").write_text("")
    with pytest.raises(InputError, match=r"found train_COVIDx3\.txt, train_COVIDx5"):
        find("covidx").examples(tmp_path)
    assert len(find("covidx").examples(tmp_path, version="5")) == 6


def test_covidx_assembled_with_two_classes(tmp_path):
    write(tmp_path, "train/a.png", "val/b.png", "test/c.jpg")
    for part, line in [
        ("train", "5 a.png negative cohen"),
        ("val", "SARS-1 b.png positive ricord"),
        ("test", "7 c.jpg negative bimcv"),
    ]:
        (tmp_path / f"{part}.txt").write_text(line + "\n")
    assert listed("covidx_binary", tmp_path, "label", "source", "split") == [
        ("train/a.png", 0, "cohen", "train"),
        ("val/b.png", 1, "ricord", "validation"),
        ("test/c.jpg", 0, "bimcv", "test"),
    ]
    with pytest.raises(InputError, match=r"train\.txt: line 1: must be a patient"):
        find("covidx").examples(tmp_path)
    (tmp_path / "test.txt").write_text("7 ../train/a.png negative bimcv")
    with pytest.raises(InputError, match="not a file name"):
        find("covidx_binary").examples(tmp_path)
    (tmp_path / "test.txt").write_text("7 c.jpg negative bimcv\n8 c.jpg positive x")
    with pytest.raises(InputError, match=r"test/c\.jpg is listed twice"):
        find("covidx_binary").examples(tmp_path)
    (tmp_path / "test.txt").write_text("7 gone.png negative bimcv")
    with pytest.raises(
        InputError, match=r"gone\.png is in the list of test, but in no"
    ):
        find("covidx_binary").examples(tmp_path)


@pytest.mark.parametrize("name", ["sirm", "radiopaedia", "bsti", "eurorad"])
def test_case_collections(tmp_path, name):
    write(tmp_path, "4871/xray/admission.jpg", "4871/xray/day 3.png")
    write(tmp_path, "4871/ct/axial.jpg", "52/ct/axial.jpg")
    (tmp_path / "notes").mkdir()
    title = find(name).title
    assert listed(name, tmp_path, "label", "patient", "source") == [
        ("4871/xray/admission.jpg", 0, f"{title} 4871", title),
        ("4871/xray/day 3.png", 0, f"{title} 4871", title),
    ]
    assert listed(name, tmp_path, "patient", modality="ct") == [
        ("4871/ct/axial.jpg", f"{title} 4871"),
        ("52/ct/axial.jpg", f"{title} 52"),
    ]
    with pytest.raises(InputError, match="modality='mri': must be one of xray, ct"):
        find(name).examples(tmp_path, modality="mri")
