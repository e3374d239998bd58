"""Digits come as they are in the CSV, in one line where they cannot be, and the parts have none in common."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from kagglepipe.course.handwriting import SIDE, DigitBatches, Digits, as_tensor, probabilities, read_digits, split
from kagglepipe.errors import UserError


def same(x):
    return x


def digits(count=200, side=SIDE):
    """Noise; the first pixel of each is its number."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)
    images[:, 0, 0] = np.arange(count)
    return Digits(images, np.arange(count) % 10)


def table(digits, label="label"):
    pixels = pd.DataFrame(digits.images.reshape(len(digits.labels), -1)).add_prefix("pixel")
    pixels.insert(0, label, digits.labels)
    return pixels


@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz"])
def test_a_csv_is_read_by_itself_or_by_its_folder(tmp_path, name):
    table(digits(), label="Label").to_csv(tmp_path / name, index=False)
    for source in (tmp_path, tmp_path / name):
        found = read_digits(str(source))
        np.testing.assert_array_equal(found.images, digits().images)
        np.testing.assert_array_equal(found.labels, digits().labels)


def test_images_of_another_size_are_resized_and_that_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    table(digits(side=14)).to_csv(tmp_path / "a.csv", index=False)
    assert read_digits(str(tmp_path / "a.csv")).images.shape == (200, SIDE, SIDE)
    assert "14 x 14, are resized to 28 x 28" in caplog.text


def test_pixels_of_another_white_are_brightened_and_that_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    known = load_digits()  # from 0 to 16
    table(Digits(known.images.astype(np.uint8), known.target)).to_csv(tmp_path / "a.csv", index=False)
    assert read_digits(str(tmp_path / "a.csv")).images.max() == 255
    assert "a.csv, 16, is taken for white" in caplog.text


def test_a_few_digits_are_enough_to_be_tested_on(tmp_path):
    table(digits(12)).to_csv(tmp_path / "few.csv", index=False)
    assert len(split(digits(), str(tmp_path / "few.csv"), seed=0)[1].labels) == 12
    with pytest.raises(UserError, match=r"course\.heldout=.* has no train\.csv"):
        split(digits(), str(tmp_path), seed=0)
    table(digits(12)).drop(columns="label").to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(UserError, match=r"label are needed; give the digits of the images$"):
        split(digits(), str(tmp_path / "few.csv"), seed=0)


def test_without_a_source_they_are_those_of_scikit_learn():
    found, known = read_digits(None), load_digits()
    np.testing.assert_array_equal(found.labels, known.target)
    assert found.images.shape == (1797, SIDE, SIDE)
    assert not found.images[:, :4].any()
    again = found.images[:, 4:24, 4:24].reshape(-1, 20 * 20).astype(float)
    assert np.corrcoef(again.sum(axis=1), known.data.sum(axis=1))[0, 1] > 0.99


def colours(whole):
    return whole.iloc[:, [0, *range(1, 1 + 3 * 256)]]


@pytest.mark.parametrize(("change", "words"), [
    (lambda whole: whole.drop(columns="pixel3"), "no columns of 49 or more pixels"),
    (lambda whole: whole.assign(label=["x", *whole["label"][1:]]), "column label, has 'x' in line 2: .* 0 to 9"),
    (lambda whole: whole.assign(pixel5=300), "pixels of 1 × uint16: needed are 8 bits of grey"),
    (colours, "pixels of 3 × uint8: needed are 8 bits of grey"),
    (lambda whole: whole[whole["label"] != 7], "has 0 images of the digit 7: 15 are"),
])  # fmt: skip
def test_what_are_no_digits_is_refused_in_a_line(tmp_path, change, words):
    change(table(digits())).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=words) as error:
        read_digits(str(tmp_path / "a.csv"))
    assert "\n" not in str(error.value)


def test_digits_may_be_written_as_numbers_with_a_point(tmp_path):
    whole = table(digits())
    whole.to_csv(tmp_path / "a.csv", index=False)
    whole.assign(label=whole["label"].astype(float)).to_csv(tmp_path / "b.csv", index=False)
    one, other = (read_digits(str(tmp_path / name)) for name in ("a.csv", "b.csv"))
    np.testing.assert_array_equal(one.labels, other.labels)


def test_a_csv_that_is_cut_short_is_refused(tmp_path):
    table(digits()).to_csv(tmp_path / "train.csv.gz", index=False)
    whole = (tmp_path / "train.csv.gz").read_bytes()
    (tmp_path / "train.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged or cut short"):
        read_digits(str(tmp_path))


def test_a_folder_without_a_training_csv_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no train\.csv"):
        read_digits(str(tmp_path))


def test_a_fifth_is_tested_on_and_the_first_to_learn_are_of_all_digits():
    train, test = split(digits(), None, seed=3)
    numbers = [part.images[:, 0, 0].tolist() for part in (train, test)]
    assert len(numbers[1]) == 40
    assert sorted([*numbers[0], *numbers[1]]) == list(range(200))
    assert np.bincount(train.labels[:100]).tolist() == [10] * 10
    np.testing.assert_array_equal(train.labels, np.array(numbers[0]) % 10)


def test_all_are_learnt_from_where_others_are_given(tmp_path):
    table(digits(150)).to_csv(tmp_path / "b.csv", index=False)
    train, test = split(digits(), str(tmp_path / "b.csv"), seed=0)
    assert (len(train.labels), len(test.labels)) == (200, 150)


def test_an_epoch_has_each_digit_once_with_its_label_distorted_or_not():
    plain = DigitBatches(digits(), same, batch_size=64, augmented=False, seed=1)
    images, labels = map(torch.cat, zip(*plain(1), strict=True))
    assert len(plain) == len(list(plain(1))) == 4
    numbers = ((images[:, 0, 0] * 0.31 + 0.13) * 255).round().long()
    assert sorted(numbers.tolist()) == list(range(200))
    assert torch.equal(labels, numbers % 10)
    assert not torch.equal(labels, torch.cat([y for _, y in plain(2)]))
    drawn = DigitBatches(digits(), same, batch_size=64, augmented=True, seed=1)
    first, again, other = (torch.cat([x for x, _ in drawn(epoch)]) for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, images)
    assert not torch.equal(first, other)


def test_probabilities_are_those_of_the_network_in_order():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(SIDE**2, 10)).train()
    some = digits(300)
    found = probabilities(network, some, same, torch.device("cpu"))
    wanted = network.eval()(as_tensor(some.images)).double().softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
