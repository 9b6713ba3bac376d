"""Checkpoint files that the tests write themselves, read into networks."""

import json
import pickle

import numpy as np
import pytest

from covjax import config
from covjax.errors import InputError
from covjax.interop import weights
from covjax.interop.convert import flatten, to_torch
from covjax.interop.files import read_checkpoint, snake_case
from covjax.interop.weights import load_pretrained
from covjax.pretrained import pretrained

pytest.importorskip("safetensors")  # of the extras interop and parity

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF = {"mean": (0.5,), "std": (0.5,)}


def assert_equal(ours, theirs):
    ours, theirs = flatten(ours), flatten(theirs)
    assert ours.keys() == theirs.keys()
    for path, leaf in theirs.items():
        np.testing.assert_array_equal(ours[path], leaf, err_msg="/".join(path))


def contiguous(tensors):
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def mobilenet(random_variables):
    return random_variables("mobilenet_v2", size=32)[1]


@pytest.fixture
def other(random_variables):
    return random_variables("mobilenet_v2", size=32, seed=9)[1]


def load(source, start, name="mobilenet_v2", new_head=False, **normalisation):
    normalisation = normalisation or IMAGENET
    return load_pretrained(
        str(source), name, start, channels=3, new_head=new_head, **normalisation
    )


@pytest.mark.parametrize("naming", ["torchvision", "timm"])
def test_safetensors(naming, mobilenet, other, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "m.safetensors"
    save_file(contiguous(to_torch("mobilenet_v2", mobilenet, naming)), path)
    assert_equal(load(path, other), mobilenet)


@pytest.mark.parametrize("wrapped", [False, True])
def test_pth(wrapped, torch, mobilenet, other, tmp_path):
    state = {
        name: torch.from_numpy(tensor)
        for name, tensor in contiguous(to_torch("mobilenet_v2", mobilenet)).items()
    }
    state["features.0.1.num_batches_tracked"] = torch.tensor(7)
    if wrapped:
        state = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    torch.save(state, tmp_path / "m.pth")
    assert_equal(load(tmp_path / "m.pth", other), mobilenet)


def test_pickled_code_is_not_run(torch, tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "old.pth"):
        with pytest.raises(InputError, match=f"{name}: damaged or not a checkpoint"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_run_of_covjax(mobilenet, other, tmp_path):
    """Its normalisation is known, and folded into the stem where it differs."""
    save_run(tmp_path, mobilenet, mean=[0.5], std=[0.5])
    assert_equal(load(tmp_path, other, **HALF), mobilenet)
    assert_equal(load(tmp_path / "weights.npz", other, **HALF), mobilenet)
    rescaled = load(tmp_path, other, mean=(0.5,), std=(0.25,))
    stem = mobilenet["params"]["stem"]["conv"]["kernel"]
    np.testing.assert_allclose(rescaled["params"]["stem"]["conv"]["kernel"], stem / 2)
    with pytest.raises(InputError, match=r"config.data.mean"):
        load(tmp_path, other, mean=(0.4,), std=(0.5,))


def save_run(directory, variables, mean, std, channels=3):
    flat = {"/".join(path): leaf for path, leaf in flatten(variables).items()}
    np.savez(directory / "weights.npz", **flat)
    picture = {"channels": channels, "mean": mean, "std": std}
    card = {"model_name": "mobilenet_v2", "preprocess": picture}
    (directory / "classifier.json").write_text(json.dumps(card))


def test_networks_without_a_stem_in_the_tables_want_the_same_normalisation(
    random_variables, tmp_path
):
    variables = random_variables("darkcovidnet", size=64, channels=1)[1]
    save_run(tmp_path, variables, mean=[0.5], std=[0.5], channels=1)
    start = random_variables("darkcovidnet", size=64, channels=1, seed=4)[1]
    arguments = {"channels": 1, "new_head": False}
    same = load_pretrained(str(tmp_path), "darkcovidnet", start, **arguments, **HALF)
    assert_equal(same, variables)
    with pytest.raises(InputError, match=r"set config.data.mean and config.data.std"):
        load_pretrained(
            str(tmp_path), "darkcovidnet", start, **arguments, mean=(0.4,), std=(0.5,)
        )


def test_a_head_of_another_size_is_replaced_only_when_asked(
    mobilenet, random_variables, tmp_path
):
    save_run(tmp_path, mobilenet, mean=[0.5], std=[0.5])
    start = random_variables("mobilenet_v2", num_classes=4, size=32, seed=9)[1]
    with pytest.raises(InputError, match=r"config.model.new_head=True starts with a f"):
        load(tmp_path, start, **HALF)
    loaded = load(tmp_path, start, new_head=True, **HALF)
    assert_equal({"p": loaded["params"]["head"]}, {"p": start["params"]["head"]})
    loaded["params"].pop("head")
    mobilenet["params"].pop("head")
    assert_equal(loaded, mobilenet)


def test_a_head_of_the_same_size_is_kept(mobilenet, other, tmp_path):
    save_run(tmp_path, mobilenet, mean=[0.5], std=[0.5])
    assert_equal(load(tmp_path, other, new_head=True, **HALF), mobilenet)


def test_bad_files_are_told_in_one_line(mobilenet, other, tmp_path):
    for name, content, message in [
        ("a.safetensors", b"no", "damaged or not a checkpoint"),
        ("a.npz", b"PK\x03\x04", "damaged or not a checkpoint"),
        ("a.keras", b"", "damaged or not a checkpoint"),
        ("a.onnx", b"", "unknown kind of checkpoint; must end in one of .pth"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: {message}") as caught:
            load(tmp_path / name, other)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"gone.pth: no such file"):
        load(tmp_path / "gone.pth", other)
    with pytest.raises(InputError, match=r"weights.npz: no such file"):
        load(tmp_path, other)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"model_name": "mobilenet_v2", "prepr',
        b"\xff\xfe\x00",
        b"[]",
        b'{"model_name": "mobilenet_v2"}',
        b'{"preprocess": {"mean": [0.5], "std": [0.5], "channels": 3}}',
        b'{"preprocess": {"mean": [0, 0], "std": [1], "channels": 3}}',
    ],
)
def test_a_damaged_card_of_a_run_is_told_in_one_line(content, tmp_path, monkeypatch):
    save_run(tmp_path, {}, mean=[0.5], std=[0.5])
    (tmp_path / "classifier.json").write_bytes(content)
    monkeypatch.setattr("covjax.pretrained.initialise", lambda *_: {})  # it is slow
    run = config.Run()
    run.model = config.Model(name="coronet", pretrained=str(tmp_path))
    line = r"^\S*classifier.json: damaged: [^\n]+$"
    for read in (
        lambda: weights.open_source(str(tmp_path)),
        lambda: pretrained(run, 3),
    ):
        with pytest.raises(InputError, match=line):
            read()


def test_hub(mobilenet, other, tmp_path, monkeypatch):
    """The hub's own settings say how pictures were normalised."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    save_file(contiguous(to_torch("mobilenet_v2", mobilenet, "timm")), path)
    settings = {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    loaded = load("timm/mobilenetv2_100.ra_in1k", other, mean=(0.5,), std=(0.25,))
    assert_equal(loaded, mobilenet)
    assert asked == [
        ("timm/mobilenetv2_100.ra_in1k", "model.safetensors"),
        ("timm/mobilenetv2_100.ra_in1k", "config.json"),
    ]


def test_no_network_is_told_in_one_line(other, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def download(repository, name):
        raise OSError("Cannot reach\nthe hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(InputError, match=r"timm/x: no such file, and huggingface.co"):
        weights.open_source("timm/x")


def test_where_a_file_that_recipes_name_is_to_be_had():
    name = "squeezenet1_1-b8a52dc0.pth"
    with pytest.raises(InputError, match=f"download https://.*/{name}, or name where"):
        weights.open_source(name)


def test_snake_case():
    names = ["Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "ZeroPadding2D"]
    assert [snake_case(name) for name in names] == [
        "conv2d", "depthwise_conv2d", "batch_normalization", "re_lu", "zero_padding2d",
    ]  # fmt: skip
