"""Folds: each image once, no group in two, classes level, and a file that says the same tomorrow."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from kagglepipe.competitions.dataset import read_folds
from kagglepipe.competitions.folds import (
    check_folds,
    folds_csv,
    leave_one_group_out,
    make_folds,
    mixed_groups,
    split_groups,
)
from kagglepipe.competitions.targets import strata
from kagglepipe.errors import UserError


@st.composite
def splits(draw, single=False):
    """(ids, targets, groups, count, seed) that can be split: enough rows of each class, enough groups."""
    count, classes = draw(st.integers(2, 6)), draw(st.integers(1, 4))
    more = draw(st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, 30)), max_size=60))
    targets = [*range(classes)] * count + [target for target, _ in more]
    groups = [*range(-classes * count, 0)] + [group for _, group in more]
    if single:
        groups = list(range(len(targets)))
    ids = [str(number) for number in range(len(targets))]
    draw(st.randoms(use_true_random=False)).shuffle(ids)
    return ids, targets, groups, count, draw(st.integers(0, 99))


def counts(folds, ids, targets):
    """(count, classes) how many rows of each class each fold has."""
    target = pd.Series(targets, index=ids)[folds["id"]].to_numpy()
    return pd.crosstab(folds["fold"].to_numpy(), target).to_numpy()


# --- making them --------------------------------------------------------------------------------------------


@given(splits())
def test_each_row_is_in_one_fold_and_no_group_in_two(split):
    ids, targets, groups, count, seed = split
    folds = make_folds(ids, targets, groups, count=count, seed=seed)
    assert folds.columns.tolist() == ["id", "fold"]
    assert folds["id"].tolist() == sorted(ids)
    assert set(folds["fold"]) == set(range(count))
    group = pd.Series(groups, index=ids)[folds["id"]].to_numpy()
    assert folds["fold"].groupby(group).nunique().max() == 1


@given(splits(), st.randoms(use_true_random=False))
def test_order_of_rows_and_names_of_groups_have_no_say(split, random):
    ids, targets, groups, count, seed = split
    rows = list(zip(ids, targets, [f"group {-group}" for group in groups], strict=True))
    random.shuffle(rows)
    shuffled = make_folds(*zip(*rows, strict=True), count=count, seed=seed)
    pd.testing.assert_frame_equal(shuffled, make_folds(ids, targets, groups, count=count, seed=seed))


@given(splits(single=True))
def test_single_rows_are_spread_as_evenly_as_can_be(split):
    ids, targets, groups, count, seed = split
    table = counts(make_folds(ids, targets, groups, count=count, seed=seed), ids, targets)
    assert np.ptp(table, axis=0).max() <= 1
    assert np.ptp(table.sum(axis=1)) <= 1


def test_single_rows_level_what_groups_left_uneven():
    targets = [0] * 7 + [1] * 3 + [0] * 13 + [1] * 17
    groups = ["a"] * 7 + ["b"] * 3 + [f"single {i}" for i in range(30)]
    ids = [f"{i:02}" for i in range(40)]
    for seed in range(5):
        table = counts(make_folds(ids, targets, groups, count=2, seed=seed), ids, targets)
        assert table.tolist() == [[10, 10], [10, 10]]


def test_the_seed_changes_the_split():
    ids = [f"{i:02}" for i in range(40)]
    made = [make_folds(ids, [0, 1] * 20, ids, count=5, seed=seed)["fold"].tolist() for seed in (0, 0, 1)]
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_a_known_split_stays_as_it_is():
    """A change here changes the folds, and with them the scores, of everyone who splits again."""
    ids = [f"{i:02}" for i in range(12)]
    groups = ["pair", "pair", "trio", "trio", "trio", *ids[5:]]
    folds = make_folds(ids, [0, 1] * 6, groups, count=3, seed=7)
    assert folds["fold"].tolist() == [1, 1, 0, 0, 0, 2, 1, 1, 2, 2, 2, 0]


def random_groups(seed):
    """(targets, groups, count) of some hundred rows; groups may hold one class mostly, and differ in size."""
    rng = np.random.default_rng(seed)
    rows, count, classes = int(rng.integers(80, 500)), int(rng.integers(2, 7)), int(rng.integers(2, 5))
    groups = rng.integers(0, rng.integers(5 * count, rows), rows)
    likely = rng.dirichlet(np.full(classes, 3.0))
    targets = rng.choice(classes, rows, p=likely)
    if seed % 2:
        targets = (groups * 7 + (rng.random(rows) < 0.2)) % classes
    singles = classes * count
    return np.r_[targets, np.arange(singles) % classes], np.r_[groups, np.arange(-singles, 0)], count


def test_classes_are_as_level_as_with_scikit_learn():
    def spread(table):
        return (table / table.sum(axis=0)).std(axis=0).mean()

    ours, theirs = [], []
    for seed in range(40):
        targets, groups, count = random_groups(seed)
        ids = [f"{i:04}" for i in range(len(targets))]
        ours.append(spread(counts(make_folds(ids, targets, groups, count=count, seed=seed), ids, targets)))
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        parts = [np.bincount(targets[valid]) for _, valid in splitter.split(ids, targets, groups)]
        theirs.append(spread(np.array([np.pad(part, (0, targets.max() + 1 - len(part))) for part in parts])))
    worse = np.subtract(ours, theirs)
    assert np.mean(worse) <= 0  # both are greedy, so either may be lucky
    assert np.quantile(worse, 0.9) <= 0
    assert np.max(worse) <= 0.03


@pytest.mark.parametrize(
    ("targets", "groups", "count", "message"),
    [
        ("aabb", "0123", 1, r"folds\.count=1 leaves nothing to validate on; type folds\.count=5"),
        ("aaaabbbb", "00112222", 4, r"all images are in 3 groups, folds\.count=4 .*; type folds\.count=3"),
        ("aabb", "0000", 2, r"all images are in 1 group, .* add images"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_named(targets, groups, count, message):
    with pytest.raises(UserError, match=message):
        make_folds([str(i) for i in range(len(targets))], list(targets), list(groups), count=count, seed=0)
    with pytest.raises(ValueError, match="unique"):
        make_folds(["a", "a"], [0, 0], [1, 2], count=2, seed=0)


def test_classes_of_few_images_are_spread_as_far_as_they_go():
    targets, ids = [*"aaabccccccc"], [f"{n:02}" for n in range(11)]
    table = counts(make_folds(ids, targets, ids, count=5, seed=0), ids, targets)
    assert np.sort(table, axis=0)[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert np.sort(table, axis=0)[:, 1].tolist() == [0, 0, 0, 0, 1]
    assert np.ptp(table.sum(axis=1)) <= 1


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3), st.sampled_from(["s1", "s2", "s10", "ana", "Ana", "ñ"]), min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_each_group_is_a_fold_of_its_own(group_of, random):
    ids = list(group_of)
    random.shuffle(ids)
    folds = leave_one_group_out(ids, [group_of[name] for name in ids])
    assert folds["id"].tolist() == sorted(ids)
    names = sorted(set(group_of.values()))
    assert folds["fold"].tolist() == [names.index(group_of[name]) for name in folds["id"]]
    assert folds.index.tolist() == list(range(len(ids)))


# --- keeping them -------------------------------------------------------------------------------------------

ODD_IDS = ["NA", "1e5", "007", "nan", "None", "True", "a,b", 'say "x"', "Ünï/ñ (1).JPG", " a", "-", "1.0"]


def test_ids_come_back_as_they_were(tmp_path):
    folds = pd.DataFrame({"id": ODD_IDS, "fold": np.arange(len(ODD_IDS)) % 3})
    path = tmp_path / "folds.csv"
    path.write_bytes(folds_csv(folds, count=3, seed=11))
    read = read_folds(path)
    assert read.columns.tolist() == ["id", "fold", "count", "seed"]
    assert dict(zip(read["id"], read["fold"], strict=True)) == dict(zip(ODD_IDS, folds["fold"], strict=True))
    assert read["id"].tolist() == sorted(ODD_IDS)
    assert set(read["count"]) == {3}
    assert set(read["seed"]) == {11}


def test_the_bytes_do_not_depend_on_the_order_of_rows():
    folds = pd.DataFrame({"id": ["b", "c", "a"], "fold": [1, 0, 1]})
    data = folds_csv(folds, count=2, seed=0)
    assert data == b"id,fold,count,seed\na,1,2,0\nb,1,2,0\nc,0,2,0\n"
    assert data == folds_csv(folds.iloc[::-1], count=2, seed=0)


def read_text(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "own.csv"
    path.write_bytes(text.encode(encoding))
    return read_folds(path)


def test_a_users_own_file_may_look_otherwise(tmp_path):
    read = read_text(tmp_path, "fold,label,id\r\n1.0,x,b\r\n0,y,007\r\n", encoding="utf-8-sig")
    assert read.to_dict("list") == {"id": ["b", "007"], "fold": [1, 0]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"own\.csv is not a CSV"),
        ("id;fold\na;1\n", r"own\.csv has columns \['id;fold'\], needed is also id, fold"),
        ("id,split\na,1\n", r"columns \['id', 'split'\], needed is also fold"),
        ("id,fold\na,0\nb,\n", r"fold '' for id 'b', needed is a whole number"),
        ("id,fold\na,0\nb,x\n", r"fold 'x' for id 'b'"),
        ("id,fold\na,0\nb,1.5\n", r"fold '1\.5' for id 'b'"),
        ("id,fold\na,0\nb,nan\n", r"fold 'nan' for id 'b'"),
        ("id,fold\na,0\nb,inf\n", r"fold 'inf' for id 'b'"),
        ("id,fold,seed\na,0,\n", r"seed '' for id 'a'"),
    ],
)
def test_an_unreadable_file_says_what_to_do(tmp_path, text, message):
    with pytest.raises(UserError, match=message + r".*; mend it or, to have folds made, type folds\.file=null"):
        read_text(tmp_path, text)


def test_another_encoding_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(UserError, match=r"own\.csv is not a CSV in UTF-8"):
        read_text(tmp_path, "id,fold\nñ,0\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"no folds file at .*none\.csv; type folds\.file=PATH or stage=prepare"):
        read_folds(tmp_path / "none.csv")


def check(tmp_path, ids, fold, *, wanted="abcd"):
    check_folds(pd.DataFrame({"id": list(ids), "fold": fold}), list(wanted), path=tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("ids", "fold", "message"),
    [
        ("abcda", [0, 1, 0, 1, 0], r"own\.csv holds more than once a; mend it"),
        ("abc", [0, 1, 0], r"own\.csv lacks d;"),
        ("abcdxyzuv", [0, 1, 0] * 3, r"holds, though no training image has that id, u, v, x and 2 more;"),
        ("abcd", [1, 2, 1, 2], r"has folds 1, 2, needed are 0, 1, … without a gap"),
        ("abcd", [0, 1, 3, 4], r"has folds 0, 1, 3 and 1 more, needed"),
        ("abcd", [-1, 0, 1, 0], r"has folds -1, 0, 1, needed"),
        ("abcd", [0, 0, 0, 0], r"has folds 0, needed"),
    ],
)
def test_folds_that_do_not_fit_are_refused(tmp_path, ids, fold, message):
    check(tmp_path, "dbca", [0, 1, 1, 0])
    with pytest.raises(UserError, match=message):
        check(tmp_path, ids, fold)


def test_torn_and_mixed_groups_are_named():
    folds = pd.DataFrame({"id": [*"dcba"], "fold": [1, 0, 1, 0]})
    assert split_groups(folds, "abcd", "xxyy") == ["x", "y"]
    assert split_groups(folds, "abcd", "xyxy") == []
    assert mixed_groups(["p", "s", "p", "p", None], ["b", "b", "a", "a", "c"]) == ["b"]
    assert mixed_groups([], []) == []


@pytest.mark.parametrize("frequent", [0, 5, 9], ids=["the least", "one between", "the largest"])
def test_the_few_numbers_beside_a_frequent_one_are_in_all_folds(frequent: int) -> None:
    others = [number for number in (0, 5, 9) if number != frequent]
    targets = [str(frequent)] * 95 + [str(others[n % 2]) for n in range(10)]
    ids = [f"{n:03}" for n in range(105)]
    found = strata(targets, "regression")
    is_few = np.array(targets) != str(frequent)
    assert not set(np.array(found)[is_few]) & set(np.array(found)[~is_few])
    folds = make_folds(ids, found, ids, count=5, seed=0).set_index("id")["fold"]
    assert folds[np.array(ids)[is_few]].value_counts().sort_index().tolist() == [2] * 5


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=120, unique=True))
def test_numbers_without_ties_are_in_quantiles(values: list[int]) -> None:
    bins = max(1, min(10, len(values) // 10))
    edges = [sorted(values)[-(-(len(values) - 1) * part // bins)] for part in range(1, bins)]  # the next rank
    expected = [f"bin {sum(edge <= value for edge in edges)}" for value in values]
    assert strata([str(value) for value in values], "regression") == expected
