"""Models of transformers, made from configurations, saved and opened again; nothing is downloaded."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

from tiny_models import CLASSES, MASKS, PIXELS, letters, oneformer, saved, segformer

from calibrant.errors import DataError, InputError, MethodError, ShapeError
from calibrant.models import open_model
from calibrant.models._normalise import Normalisation
from calibrant.predictions import from_probabilities

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MEAN, STD = (torch.tensor(each).view(3, 1, 1) for each in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("segformer")
    saved(segformer, path)
    return path


@pytest.mark.parametrize("family", PIXELS)
def test_logits_are_the_models_own(family, tmp_path):
    model = saved(PIXELS[family], tmp_path)
    opened = open_model(tmp_path)
    assert opened.class_names == CLASSES
    assert opened.num_classes == len(CLASSES)
    with torch.no_grad():
        answer, expected = opened(IMAGES), model((IMAGES - MEAN) / STD).logits
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5)
    assert answer.std() > 0.01


@pytest.mark.parametrize("family", MASKS)
@pytest.mark.parametrize("resolution", ["label", "network"])
def test_masks_and_their_classes_become_one_score_a_class(family, resolution, tmp_path):
    model = saved(MASKS[family], tmp_path)
    opened = open_model(tmp_path, resolution=resolution)
    with torch.no_grad():
        logits, output = opened(IMAGES), model(pixel_values=(IMAGES - MEAN) / STD)
    masks, classes = output.masks_queries_logits.double(), output.class_queries_logits.double().numpy()
    if resolution == "label":
        masks = torch.nn.functional.interpolate(masks, (64, 64), mode="bilinear")
    scores = np.zeros((2, len(CLASSES), *masks.shape[2:]))
    for image in range(2):
        for query in range(masks.shape[1]):
            share = np.exp(classes[image, query]) / np.exp(classes[image, query]).sum()
            for k in range(len(CLASSES)):
                scores[image, k] += share[k] / (1 + np.exp(-masks[image, query].numpy()))
    shares = torch.from_numpy(scores / scores.sum(1, keepdims=True)).float()
    torch.testing.assert_close(logits.softmax(1), shares, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, torch.stack([from_probabilities(each) for each in shares]), rtol=1e-3, atol=1e-3)
    assert "masks" in opened.answers


def test_oneformer_is_told_its_task(tmp_path):
    model = saved(oneformer, tmp_path)
    with pytest.raises(DataError, match="expected the tokenizer of OneFormer"):
        open_model(tmp_path)
    tokenizer = letters(tmp_path / "letters")
    tokenizer.save_pretrained(tmp_path)
    tokens = tokenizer(["the task is semantic"], padding="max_length", max_length=77)
    ids = torch.tensor(tokens["input_ids"]) * torch.tensor(tokens["attention_mask"])
    with torch.no_grad():
        logits = open_model(tmp_path)(IMAGES)
        output = model(pixel_values=(IMAGES - MEAN) / STD, task_inputs=ids.expand(2, -1))
    shares = output.class_queries_logits.softmax(-1)[..., :-1], output.masks_queries_logits.sigmoid()
    scores = torch.einsum("nqc,nqhw->nchw", *shares)
    torch.testing.assert_close(logits.softmax(1), scores / scores.sum(1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_the_winner_of_mask_classifiers_is_the_one_of_transformers(tmp_path):
    from transformers import Mask2FormerImageProcessor

    model = saved(MASKS["mask2former"], tmp_path)
    # Its own function brings masks to 384 x 384 first, whatever the image's size.
    images = torch.rand(1, 3, 384, 384, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, output = open_model(tmp_path, resolution="label")(images), model((images - MEAN) / STD)
    (theirs,) = Mask2FormerImageProcessor().post_process_semantic_segmentation(output)
    assert (logits[0].argmax(0) == theirs).float().mean() > 0.9999  # ties of rounding


def test_images_are_scaled_as_the_folder_says(tmp_path):
    saved(segformer, tmp_path, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    opened = open_model(tmp_path)
    assert "[0.1, 0.2, 0.3]" in opened.description
    told = open_model(tmp_path, normalise="0.1,0.2,0.3/0.5,0.6,0.7")
    assert torch.equal(opened(IMAGES), told(IMAGES))
    assert not torch.allclose(opened(IMAGES), open_model(tmp_path, normalise="imagenet")(IMAGES))


def test_the_image_processor_would_have_scaled_them_alike(folder):
    from transformers import AutoImageProcessor

    numbers = (IMAGES[0] * 255).round().to(torch.uint8)
    theirs = AutoImageProcessor.from_pretrained(folder)(numbers.numpy(), do_resize=False, return_tensors="pt")
    normalise = open_model(folder).run.normalise
    torch.testing.assert_close(normalise(numbers[None] / 255), theirs["pixel_values"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"image_mean": [0.5], "image_std": [0.25]}, Normalisation((0.5,), (0.25,))),
        ({"do_normalize": False, "image_mean": [0.5], "image_std": [0.25]}, Normalisation()),
        ({"do_rescale": False, "do_normalize": False}, Normalisation(scale=255)),
        ({"do_rescale": True, "rescale_factor": 1 / 127.5, "do_normalize": False}, Normalisation(scale=2)),
        ({"do_flip_channel_order": True, "image_mean": [0.5], "image_std": [0.5]}, Normalisation(reverse=True)),
    ],
)
def test_preprocessor_configurations_of_all_kinds(found, expected):
    assert Normalisation.of_hugging_face(found) == expected


def test_other_weights_are_another_description(folder, tmp_path):
    torch.manual_seed(1)
    other = segformer()
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "preprocessor_config.json").write_bytes((folder / "preprocessor_config.json").read_bytes())
    said = [open_model(each).description.split("weights ")[1] for each in (folder, tmp_path / "other")]
    assert said[0] != said[1]
    assert open_model(folder).description.split("weights ")[1] == said[0]


def test_names_of_classes_that_nobody_gave_are_no_names(tmp_path):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = {"depths": [1] * 4, "hidden_sizes": [8] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}
    SegformerForSemanticSegmentation(SegformerConfig(**sizes, num_labels=3)).save_pretrained(tmp_path)
    opened = open_model(tmp_path, normalise="none")
    assert (opened.class_names, opened.num_classes) == ((), 3)


def test_a_folder_without_its_preprocessing_is_refused(tmp_path):
    saved(segformer, tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match=r"expected preprocessor_config\.json.*--normalise"):
        open_model(tmp_path)
    assert open_model(tmp_path, normalise="imagenet").num_classes == 5


def test_a_backbone_without_a_head_is_refused(tmp_path):
    from transformers import SegformerImageProcessor

    segformer().segformer.save_pretrained(tmp_path)
    SegformerImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"are missing, such as decode_head.*head was trained too"):
        open_model(tmp_path)


def test_a_model_for_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(DataError, match=r"expected a model for semantic segmentation.*segformer.*; got bert"):
        open_model(tmp_path)


def test_a_name_that_cannot_be_found_offline():
    with pytest.raises(DataError, match=r"nobody/nothing: expected config\.json"):
        open_model("nobody/nothing")


def test_images_of_a_size_that_it_cannot_take(tmp_path):
    saved(MASKS["eomt"], tmp_path)
    with pytest.raises(ShapeError, match=r"images \(1, 3, 64, 96\).*images of 64 pixels a side.*--crop"):
        open_model(tmp_path)(torch.rand(1, 3, 64, 96))
    with pytest.raises(ShapeError, match=r"expected images of 3 channels"):
        open_model(tmp_path)(torch.rand(1, 4, 64, 64))


class Trap:
    """Leaves a mark if it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickled_code_in_weights_is_not_run(tmp_path):
    saved(segformer, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    mark = tmp_path / "ran"
    with (tmp_path / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"a": Trap(mark)}, file, protocol=2)
    with pytest.raises(DataError, match="weights_only=True"):
        open_model(tmp_path)
    assert not mark.exists()


def test_pickled_weights_that_are_tensors_alone_are_read(folder, tmp_path):
    model = saved(segformer, tmp_path)
    expected = open_model(tmp_path)(IMAGES)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert torch.equal(open_model(tmp_path)(IMAGES), expected)


def test_code_in_the_folder_needs_trust(tmp_path):
    mark = tmp_path / "ran"
    said = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    (tmp_path / "mine.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(InputError, match=r"auto_map.*trust_code=True \(command line: --trust\)"):
        open_model(tmp_path)
    assert not mark.exists()


def test_no_such_resolution(folder):
    with pytest.raises(MethodError, match="expected a resolution of: network, label"):
        open_model(folder, resolution="full")
