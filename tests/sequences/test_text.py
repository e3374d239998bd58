"""Texts come back from their tokens; batches leave nothing out and are never padded; the output is the embedding."""

import gzip

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.sequences.text import (
    END,
    UNKNOWN,
    LockedDropout,
    StreamBatches,
    TiedEmbedding,
    Vocabulary,
    find_text,
    join,
    of_equal_length,
    read_lines,
    read_text,
    tokens,
    words,
)


@given(st.lists(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1)).map(" ".join))
def test_joined_tokens_are_the_text(text):
    assert join(tokens(text)) == text


def test_words_are_runs_of_letters_and_single_signs():
    assert words('Two T-shirts, "größer"…') == ["Two", "T", "-", "shirts", ",", '"', "größer", '"', "…"]
    assert [token.strip("\u2060") for token in tokens("a-b c.")] == words("a-b c.")


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_texts_are_read_plain_and_gzipped(tmp_path, name):
    data = "\ufeffEine Straße \r\n\r\nEnde".encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read_text(tmp_path / name) == "Eine Straße \n\nEnde"
    assert read_lines(tmp_path / name) == ["Eine Straße", "", "Ende"]


def test_other_bytes_are_refused_with_their_line(tmp_path):
    (tmp_path / "latin").write_bytes("ab\nStraße".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin is not UTF-8 in line 2"):
        read_text(tmp_path / "latin")
    (tmp_path / "no.gz").write_bytes(b"plain")
    whole = gzip.compress(bytes(range(256)))
    (tmp_path / "damaged.gz").write_bytes(whole[:12] + b"\xff\xff" + whole[14:])
    (tmp_path / "cut.gz").write_bytes(whole[:-9])
    for path in (tmp_path / "no.gz", tmp_path / "damaged.gz", tmp_path / "cut.gz", tmp_path):
        with pytest.raises(UserError, match="cannot be read as a text"):
            read_text(path)


def test_an_empty_text_has_no_lines(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert read_lines(tmp_path / "empty") == []


def test_the_nearest_text_of_a_name_is_found(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "train.en").write_text("far")
    (tmp_path / "a" / "train.en.gz").write_bytes(gzip.compress(b"near"))
    assert find_text(tmp_path, "train.en") == tmp_path / "a" / "train.en.gz"
    assert find_text(tmp_path, "train.de") is None


def test_a_vocabulary_numbers_what_was_seen_often():
    vocabulary = Vocabulary.of("abracadabra", least=2, more=(END,))
    assert vocabulary.symbols == [UNKNOWN, END, "a", "b", "r"]
    assert vocabulary.encode("bad").tolist() == [3, 2, 0]
    assert vocabulary.decode([3, 2, 0]) == ["b", "a", UNKNOWN]
    assert vocabulary.unseen("daddy") == {"d": 3, "y": 1}


def test_streams_go_on_where_the_batch_before_ended():
    ids = np.arange(31)
    for epoch in (1, 2):
        batches = list(StreamBatches(ids, batch_size=2, steps=5)(epoch))
        assert len(batches) == len(StreamBatches(ids, 2, 5)) == 3
        inputs, labels = (torch.cat([batch[part] for batch in batches], dim=1) for part in (0, 2))
        assert (labels == (inputs + 1) % 31).all()
        assert (inputs[:, 1:] == labels[:, :-1]).all()
        assert (inputs[1, 0] - inputs[0, 0]) % 31 == 15
        assert [bool(is_begin.all()) for _, is_begin, _ in batches] == [True, False, False]
    first, second = (next(iter(StreamBatches(ids, 2, 5)(epoch)))[0] for epoch in (1, 2))
    assert not torch.equal(first, second)


def test_a_short_text_is_one_short_batch():
    ((inputs, is_begin, labels),) = StreamBatches(np.arange(8), batch_size=2, steps=100)(1)
    assert inputs.shape == labels.shape == (2, 3)
    assert is_begin.tolist() == [True, True]


@given(st.lists(st.integers(1, 5), max_size=40), st.integers(1, 7), st.one_of(st.none(), st.just([0])))
def test_batches_of_equal_length_hold_each_row_once(lengths, size, seed):
    batches = of_equal_length(lengths, size, seed)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len({lengths[row] for row in batch}) == 1 and len(batch) <= size for batch in batches)


def test_locked_dropout_has_one_mask_for_all_steps():
    torch.manual_seed(0)
    dropped = LockedDropout(0.5)(torch.ones(3, 4, 50))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(LockedDropout(0.5).eval()(dropped), dropped)


def test_the_output_is_the_embedding():
    tied = TiedEmbedding(7, 3, 3)
    with torch.no_grad():
        tied.bias.copy_(torch.arange(7.0))
    states = torch.randn(2, 5, 3)
    torch.testing.assert_close(tied.logits(states), states @ tied.weight.T + tied.bias)
    torch.testing.assert_close(tied(torch.tensor([[4]])), tied.weight[4][None, None])
    assert {name for name, _ in tied.named_parameters()} == {"weight", "bias"}
    assert TiedEmbedding(7, 3, 8).logits(torch.randn(2, 5, 8)).shape == (2, 5, 7)
