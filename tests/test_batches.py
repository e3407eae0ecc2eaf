"""Stored tensors are taken batch by batch, and whatever else a loader does is left to it."""

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from cxr_tutorial.files.batches import whole_batches
from cxr_tutorial.training import fit, predict


class Own(TensorDataset):
    "Rows that may be other ones each time."


class Pairs(BatchSampler):
    "Batches as tuples, which would be an index of several dimensions."

    def __iter__(self):
        return map(tuple, super().__iter__())


def rows(kind=TensorDataset, number=10):
    return kind(torch.arange(2 * number).reshape(number, 2).float(), torch.arange(number) % 2)


def drawn(loader) -> list:
    return [part.tolist() for batch in loader for part in batch]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"shuffle": True},
        {"shuffle": True, "drop_last": True},
        {"sampler": WeightedRandomSampler(torch.ones(10), 10)},
    ],
    ids=["in order", "shuffled", "without the last", "weighted"],
)
def test_batches_and_later_random_numbers_are_the_same(how):
    found = []
    for change in (lambda loader: loader, whole_batches):
        torch.manual_seed(0)
        loader = change(DataLoader(rows(), 4, **how))
        found.append([drawn(loader), drawn(loader), torch.rand(3).tolist()])
    assert found[0] == found[1]
    assert len(found[0][0]) == (4 if "drop_last" in how else 6)


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(rows(Own), 4),
        DataLoader(Subset(rows(), [1, 2, 3]), 2),
        DataLoader(rows(), 4, num_workers=1),
        DataLoader(rows(), 4, collate_fn=lambda batch: default_collate(batch[::-1])),
        DataLoader(rows(), batch_size=None),
        DataLoader(rows(), 2, sampler=SubsetRandomSampler(torch.arange(10))),
        DataLoader(rows(), batch_sampler=Pairs(SequentialSampler(rows()), 2, False)),
        [(torch.ones(2, 2), torch.ones(2))],
    ],
    ids=["own", "subset", "workers", "collate", "single", "tensors", "tuples", "list"],
)
def test_other_loaders_stay_as_they_are(loader):
    assert whole_batches(loader) is loader


def test_rows_in_order_come_many_at_a_time():
    found = []
    for change in (lambda loader: loader, lambda loader: whole_batches(loader, 8)):
        torch.manual_seed(0)
        batches = list(change(DataLoader(rows(), 4)))
        found.append([torch.cat([x for x, _ in batches]).tolist(), torch.rand(3).tolist()])
    assert found[0] == found[1]
    assert [len(x) for x, _ in batches] == [8, 2]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(rows(), 4, shuffle=True),
        DataLoader(rows(), 4, drop_last=True),
        DataLoader(rows(), batch_sampler=BatchSampler(RandomSampler(rows()), 4, False)),
        DataLoader(rows(), batch_sampler=BatchSampler(SequentialSampler(rows()), 4, True)),
    ],
    ids=["shuffled", "without the last", "random batches", "batches without the last"],
)
def test_other_batches_keep_their_size(loader):
    assert [len(x) for x, _ in whole_batches(loader, 8)] == [len(x) for x, _ in loader]


def test_training_and_predicting_take_whole_batches(monkeypatch):
    taken, original = [], TensorDataset.__getitem__

    def take(self, index):
        taken.append(index)
        return original(self, index)

    monkeypatch.setattr(TensorDataset, "__getitem__", take)
    loader, line = DataLoader(rows(number=12), 5), torch.nn.Linear(2, 1)
    fit(line, loader, loader, epochs=1)
    assert [len(batch) for batch in taken] == [5, 5, 2, 12]  # one epoch, one validation
    assert predict(line, loader).label.tolist() == [0, 1] * 6
