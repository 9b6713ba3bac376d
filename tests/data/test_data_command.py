"""python -m covjax.data: the list, fetching, verifying, preparing, showing."""

import dataclasses
import functools
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from covjax.data import __main__ as command
from covjax.data import prepare, prepared
from covjax.data.builders import records
from covjax.data.catalog import CATALOG, Download, find, prepared_dir
from covjax.data.readers import encode_png, read_image
from covjax.errors import InputError


def pneumonia_mnist(folder, count=6):
    """The set's file with `count` pictures in each split."""
    rng = np.random.default_rng(0)
    arrays = {}
    for key in ("train", "val", "test"):
        arrays[f"{key}_images"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{key}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, None]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "pneumoniamnist.npz", **arrays)
    return folder


def contents(folder):
    """All files under a folder, for comparing what is there before and after."""
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """The place where sets are looked for; empty at first."""
    root = tmp_path / "data"
    monkeypatch.setenv("COVJAX_DATA_DIR", str(root))
    return root


def test_list_names_every_set_and_what_is_here(data_root, capsys):
    pneumonia_mnist(data_root / "pneumoniamnist")
    assert command.main([]) == 0
    text = capsys.readouterr().out
    joined = " ".join(text.split())
    for name, card in CATALOG.items():
        assert f"\n{name}  [{card.modality}]" in "\n" + text
        for words in (card.size, card.licence, card.home, card.get, *card.classes):
            assert words in joined
    assert f"pneumonia_mnist  [X-ray]  on this disk: {data_root}" in text
    assert text.count("  not on this disk") == len(CATALOG) - 1
    assert text.endswith(f"{len(CATALOG)} data sets, 1 on this disk\n")
    assert command.main(["list"]) == 0
    assert capsys.readouterr().out == text


def test_help_and_a_misspelt_name_need_nothing_heavy():
    program = (
        "import sys\nfrom covjax.data import __main__ as command\n"
        "try: command.main(sys.argv[1:])\nexcept Exception as e: print(e)\n"
        "finally: print('heavy', sorted({m.split('.')[0] for m in sys.modules} & "
        "{'jax', 'tensorflow_datasets', 'scipy', 'matplotlib', 'sklearn', 'pydicom', "
        "'nibabel', 'grain'}))"
    )
    for words, expected in (
        (["--help"], "fetch, verify and write a set"),
        (["prepare", "covidct"], "did you mean covid_ct"),
        (["show", "covid_ct", "--dir", "nowhere"], "nowhere: no such folder"),
    ):
        result = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True
        )
        assert expected in result.stdout
        assert result.stdout.endswith("heavy []\n")


def test_prepare_writes_what_load_and_tfds_read(data_root, capsys):
    folder = pneumonia_mnist(data_root / "pneumonia_mnist")
    assert command.main(["prepare", "pneumonia_mnist"]) == 0
    made = prepared_dir() / "pneumonia_mnist" / records.VERSION
    said = capsys.readouterr()
    assert f"prepared: {made}" in said.out
    assert "no manifest; --write_manifest" in said.err
    originals = find("pneumonia_mnist").examples(folder)
    written = prepared.read_prepared(
        prepared.find_prepared("pneumonia_mnist", made.parent)
    )
    assert len(written) == len(originals) == 18
    for a, b in zip(originals, written, strict=True):
        assert (a.file, a.label, a.split, a.source) == (
            b.file,
            b.label,
            b.split,
            b.source,
        )
        np.testing.assert_array_equal(
            read_image(a.open()).array, read_image(b.open()).array
        )
    before = contents(made)
    assert command.main(["prepare", "pneumonia_mnist"]) == 0
    assert f"already prepared: {made}" in capsys.readouterr().out
    assert contents(made) == before
    assert not [
        p for p in made.parent.iterdir() if p not in (made, made.parent / ".lock")
    ]


def test_changed_originals_are_prepared_again(data_root, capsys):
    folder = pneumonia_mnist(data_root / "pneumonia_mnist")
    made, new = prepare.build(find("pneumonia_mnist"), folder, prepared_dir())
    assert new
    pneumonia_mnist(folder, count=7)
    made, new = prepare.build(find("pneumonia_mnist"), folder, prepared_dir())
    assert new
    assert len(prepared.read_prepared(made)) == 21


def test_what_was_written_is_not_written_again(data_root, monkeypatch):
    """A build that stops in its second shard starts there the next time."""
    folder = pneumonia_mnist(data_root / "pneumonia_mnist")
    monkeypatch.setattr(records, "SHARD", 5)
    encoded = []

    def stops(example, encode=records._fields):
        if len(encoded) == 7:
            raise InputError("the disk was pulled out")
        encoded.append(example.file)
        return encode(example)

    with monkeypatch.context() as context:
        context.setattr(records, "_fields", stops)
        with pytest.raises(InputError, match=r"^the disk was pulled out$"):
            prepare.build(find("pneumonia_mnist"), folder, prepared_dir())
    root = prepared_dir() / "pneumonia_mnist"
    assert prepared.find_prepared("pneumonia_mnist", root) is None
    assert not (root / records.VERSION).exists()
    encoded.clear()

    def counts(example, encode=records._fields):
        encoded.append(example.file)
        return encode(example)

    monkeypatch.setattr(records, "_fields", counts)
    made, _ = prepare.build(find("pneumonia_mnist"), folder, prepared_dir())
    examples = find("pneumonia_mnist").examples(folder)
    assert encoded == [e.file for e in examples[5:]]  # the first shard was whole
    assert [e.file for e in prepared.read_prepared(made)] == [e.file for e in examples]
    assert not list(root.glob("unfinished-*"))


def test_a_killed_build_leaves_nothing_that_looks_whole(data_root, tmp_path):
    pneumonia_mnist(data_root / "pneumonia_mnist", count=3000)
    words = [sys.executable, "-m", "covjax.data", "prepare", "pneumonia_mnist"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    root = prepared_dir() / "pneumonia_mnist"
    deadline = time.monotonic() + 60
    while not list(root.glob("unfinished-*/00001")) and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert prepared.find_prepared("pneumonia_mnist", root) is None
    source = data_root / "pneumonia_mnist"
    made, _ = prepare.build(find("pneumonia_mnist"), source, prepared_dir())
    assert len(prepared.read_prepared(made)) == 9000
    assert sorted(p.name for p in root.iterdir()) == [".lock", records.VERSION]


def test_two_processes_do_not_write_one_set(data_root):
    folder = pneumonia_mnist(data_root / "pneumonia_mnist")
    root = prepared_dir() / "pneumonia_mnist"
    root.mkdir(parents=True)
    with (
        prepare._lock(root),
        pytest.raises(InputError, match="another process prepares this set"),
    ):
        prepare.build(find("pneumonia_mnist"), folder, prepared_dir())


def test_a_bad_picture_stops_the_build_and_is_named(tmp_path):
    for name in ("Covid-19", "No_findings", "Pneumonia"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "a.png")
    (tmp_path / "Pneumonia/b.jpg").write_bytes(b"\xff\xd8\xff not a JPEG")
    with pytest.raises(InputError, match=r"^Pneumonia/b\.jpg: damaged JPEG"):
        prepare.build(find("darkcovidnet"), tmp_path, prepared_dir())
    assert prepared.find_prepared("darkcovidnet", prepared_dir()) is None


def test_manifest(data_root, capsys):
    folder = pneumonia_mnist(data_root / "pneumonia_mnist")
    (folder / "notes").mkdir()
    (folder / "notes/read me.txt").write_text("hello")
    assert command.main(["prepare", "pneumonia_mnist", "--write_manifest"]) == 0
    assert f"verified 2 files in {folder}" in capsys.readouterr().out
    manifest = folder / "manifest.sha256"
    check = subprocess.run(
        ["sha256sum", "-c", manifest.name], cwd=folder, capture_output=True
    )
    assert check.returncode == 0
    assert command.main(["prepare", "pneumonia_mnist"]) == 0
    assert "verified 2 files" in capsys.readouterr().out
    (folder / "notes/read me.txt").write_text("hellO")
    with pytest.raises(InputError, match=r"notes/read me\.txt: has another SHA-256"):
        command.main(["prepare", "pneumonia_mnist"])
    (folder / "notes/read me.txt").unlink()
    with pytest.raises(InputError, match=r"notes/read me\.txt: missing, but named in"):
        command.main(["prepare", "pneumonia_mnist"])
    (folder / "notes/read me.txt").write_text("hello")
    (folder / "more.npz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"more\.npz: not named in"):
        command.main(["prepare", "pneumonia_mnist"])
    (folder / "more.npz").unlink()
    manifest.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1 is not a digest and a path"):
        command.main(["prepare", "pneumonia_mnist"])


def test_a_folder_that_is_not_to_be_written_stays_as_it_is(data_root):
    folder = pneumonia_mnist(data_root / "pneumonia_mnist")
    before = contents(folder)
    folder.chmod(0o555)
    try:
        words = ["prepare", "pneumonia_mnist", "--write_manifest"]
        assert command.main(words) == 0
        assert contents(folder) == before
        assert (prepared_dir() / "pneumonia_mnist.manifest.sha256").exists()
        assert command.main(words[:2]) == 0
        folder.chmod(0o755)
        (folder / "pneumoniamnist.npz").write_bytes(b"other")
        folder.chmod(0o555)
        with pytest.raises(InputError, match=r"pneumoniamnist\.npz: has another SHA"):
            command.main(words[:2])
    finally:
        folder.chmod(0o755)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, the rest of a file when asked for it, and notes the ranges."""

    ranges: tuple[str, ...] = ()
    cut = 0  # bytes that are promised and not sent

    def do_GET(self):
        if not os.path.exists(self.translate_path(self.path)):
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        type(self).ranges += (asked or "whole",)
        with open(self.translate_path(self.path), "rb") as file:
            content = file.read()
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) - self.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    handler = type("Handler", (Server,), {"ranges": ()})
    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_address[1]}", handler
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_download_goes_on_where_it_stopped_and_is_verified(server, tmp_path):
    folder, address, handler = server
    content = np.random.default_rng(0).bytes(100_000)
    (folder / "set.zip").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    download = Download(url=f"{address}/set.zip", file="a/set.zip", sha256=sha256)
    target = tmp_path / "here/a/set.zip"
    prepare.fetch_file(download, target)
    assert target.read_bytes() == content
    target.unlink()
    (target.parent / "set.zip.part").write_bytes(content[:40_000])
    prepare.fetch_file(download, target)
    assert target.read_bytes() == content
    assert handler.ranges == ("whole", "bytes=40000-")
    target.unlink()
    (folder / "set.zip").write_bytes(content[:-1] + b"x")
    with pytest.raises(InputError, match="has another SHA-256 than published"):
        prepare.fetch_file(download, target)
    assert list(target.parent.iterdir()) == []


def test_a_download_that_ends_early_is_kept_and_told(server, tmp_path):
    folder, address, handler = server
    (folder / "set.zip").write_bytes(bytes(1000))
    handler.cut = 300
    download = Download(url=f"{address}/set.zip", file="set.zip")
    with pytest.raises(InputError, match="ended after 700 of 1000 bytes; run again"):
        prepare.fetch_file(download, tmp_path / "set.zip")
    handler.cut = 0
    prepare.fetch_file(download, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").stat().st_size == 1000
    assert handler.ranges == ("whole", "bytes=700-")
    with pytest.raises(InputError, match="absent: 404"):
        prepare.fetch_file(Download(url=f"{address}/absent", file="x"), tmp_path / "x")


def test_a_repository_is_fetched_unpacked_and_prepared(server, tmp_path, monkeypatch):
    """The archive that GitHub makes of Figure1's repository, from our own server."""
    folder, address, _ = server
    root = "Figure1-COVID-chestxray-dataset-master"
    with zipfile.ZipFile(folder / "master.zip", "w") as archive:
        archive.writestr(f"{root}/README.md", "# Figure 1")
        archive.writestr(
            f"{root}/metadata.csv",
            "patientid,sex,age,finding,view\nCOVID-1,M,33,COVID-19,PA\n",
        )
        archive.writestr(
            f"{root}/images/COVID-1.png", encode_png(np.eye(9, dtype="u1"))
        )
    figure1 = find("figure1")
    (download,) = figure1.downloads
    local = dataclasses.replace(download, url=f"{address}/master.zip")
    monkeypatch.setitem(
        CATALOG, "figure1", dataclasses.replace(figure1, downloads=(local,))
    )
    words = ["prepare", "figure1", "--dir", str(tmp_path / "figure1")]
    assert command.main(words) == 0
    names = sorted(p.name for p in (tmp_path / "figure1").iterdir())
    assert names == ["README.md", "images", "metadata.csv"]
    assert prepared.find_prepared("figure1", prepared_dir()) is not None
    assert command.main(words) == 0  # nothing is fetched again


@pytest.mark.parametrize(
    "name", ["../evil.csv", "/evil.csv", "a/../../evil.csv", "..\\e"]
)
def test_no_member_leaves_the_folder(tmp_path, name):
    place = tmp_path / "here"
    place.mkdir()
    with zipfile.ZipFile(place / "set.zip", "w") as archive:
        archive.writestr("set/good.csv", "x")
        archive.writestr(zipfile.ZipInfo(f"set/{name}"), "x")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="leads out of the folder"):
        prepare.unpack(place / "set.zip", "set", place / "set")
    assert set(contents(tmp_path)) == set(before)


def test_a_zip_is_unpacked_with_or_without_its_folder(tmp_path):
    for number, prefix in enumerate(("Lung_Mask/", "")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr(f"{prefix}a.nii.gz", "a")
            archive.writestr(f"{prefix}b.nii.gz", "b")
        target = tmp_path / f"{number}"
        prepare.unpack(tmp_path / f"{number}.zip", "Lung_Mask", target)
        assert sorted(p.name for p in target.iterdir()) == ["a.nii.gz", "b.nii.gz"]
    (tmp_path / "0.zip").write_bytes((tmp_path / "0.zip").read_bytes()[:60])
    with pytest.raises(InputError, match=r"0\.zip: damaged ZIP"):
        prepare.unpack(tmp_path / "0.zip", "", tmp_path / "2")


def test_fetching_without_a_network_says_how_to_do_it_by_hand(data_root, monkeypatch):
    def no_network(*_, **__):
        raise prepare.urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(prepare.urllib.request, "urlopen", no_network)
    with pytest.raises(InputError, match=r"zenodo.*cannot be fetched.*by hand: put"):
        command.main(["prepare", "pneumonia_mnist"])
    with pytest.raises(InputError, match=r"mosmed is not here; download COVID19_1110"):
        command.main(["prepare", "mosmed"])
    assert not data_root.exists()


def test_show_counts_and_draws(data_root, tmp_path, capsys):
    root = data_root / "darkcovidnet"
    tones = {"Covid-19": 200, "No_findings": 30, "Pneumonia": 110}
    for name, tone in tones.items():
        (root / name).mkdir(parents=True)
        for number in range(2 if name == "Covid-19" else 10):
            stem = (
                f"{number}"
                if name == "Covid-19"
                else f"0000000{number // 3}_00{number}"
            )
            Image.new("L", (60, 40), tone).save(root / name / f"{stem}.png")
    output = tmp_path / "sheet.png"
    words = ["show", "darkcovidnet", "--output", str(output)]
    assert command.main(words) == 0
    text = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "class no split pictures patients" in lines
    assert "normal 10 10 4" in lines
    assert "COVID-19 2 2 unknown" in lines
    assert "all 22 22 4 + 2 unknown" in lines
    assert "source normal pneumonia COVID-19 pictures" in lines
    assert "NIH ChestX-ray14 10 10 0 20" in lines
    assert "covid-chestxray-dataset 0 0 2 2" in lines
    sheet = np.asarray(Image.open(output))
    # eight pictures of 150 x 100 in each of the first two rows, two in the third
    # (and a few pixels of the letters' soft edges)
    for tone, pictures in ((30, 8), (110, 8), (200, 2)):
        assert (sheet == tone).sum() == pytest.approx(pictures * 150 * 100, abs=50)
    assert sheet.shape == (3 * 180 + 6, 8 * 156 + 6)
    # the same from the prepared set
    assert command.main(["prepare", "darkcovidnet"]) == 0
    capsys.readouterr()
    again = tmp_path / "again.png"
    place = str(prepared_dir())
    assert command.main([*words[:2], "--dir", place, "--output", str(again)]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == text.splitlines()[:-1]
    assert again.read_bytes() == output.read_bytes()


def test_show_tells_patients_in_several_splits(tmp_path, capsys):
    for part, name in [
        ("train", "person1_virus_6"),
        ("test", "person1_bacteria_1"),
        ("train", "person2_virus_7"),
    ]:
        folder = tmp_path / "chest_xray" / part / "PNEUMONIA"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 9).save(folder / f"{name}.jpeg")
    for part in ("train", "val", "test"):
        for name in ("NORMAL", "PNEUMONIA"):
            (tmp_path / "chest_xray" / part / name).mkdir(parents=True, exist_ok=True)
    words = ["show", "chest_xray_pneumonia", "--dir", str(tmp_path)]
    assert command.main([*words, "--output", str(tmp_path / "sheet.png")]) == 0
    text = capsys.readouterr().out
    assert "Patients across the set's own splits: 1 of 2." in text


def test_show_with_several_labels(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    rows = ["Image Index,Finding Labels,Patient ID,View Position"]
    for number, labels in enumerate(["Mass|Nodule", "Mass", "No Finding"]):
        rows.append(f"0000000{number}_000.png,{labels},{number},PA")
        Image.new("L", (8, 8), 50).save(tmp_path / f"images/0000000{number}_000.png")
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join(rows))
    words = ["show", "nih_chestxray14", "--dir", str(tmp_path)]
    assert command.main([*words, "--output", str(tmp_path / "sheet.png")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"Mass 2 2 2", "Nodule 1 1 1", "Hernia 0 0 0"} <= set(lines)
    assert {"none of these 1 1 1", "all 3 3 3"} <= set(lines)


@pytest.mark.parametrize("name", ["covid_ct", "darkcovidnet", "pneumonia_mnist"])
def test_the_real_sets(data_dir, monkeypatch, tmp_path, name):
    monkeypatch.setenv("COVJAX_DATA_DIR", str(data_dir))
    output = tmp_path / "sheet.png"
    assert command.main(["show", name, "--output", str(output)]) == 0
    assert np.asarray(Image.open(output)).std() > 30
    assert command.main(["prepare", name]) == 0
