"""Which rank this is: what is asked, and in which order."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from parsl_ckpt.restart import ranks
from parsl_ckpt.restart.ranks import DETECTORS, Ranks, detect, register_rank_detector


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    monkeypatch.delitem(sys.modules, "torch.distributed", raising=False)
    monkeypatch.setattr(ranks, "DETECTORS", list(DETECTORS))


def mpi(rank, size, initialized=True, finalized=False):
    world = SimpleNamespace(Get_rank=lambda: rank, Get_size=lambda: size)
    return SimpleNamespace(
        Is_initialized=lambda: initialized, Is_finalized=lambda: finalized, COMM_WORLD=world
    )


def test_a_process_of_which_nothing_is_known_is_alone():
    assert detect(environment={}) == Ranks(0, 1)


def test_what_the_user_says_counts_before_all_that_is_found():
    assert detect(1, 2, environment={"RANK": "0", "WORLD_SIZE": "8"}) == Ranks(1, 2)


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "2", "WORLD_SIZE": "4"},
        {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"},
        {"PMI_RANK": "2", "PMI_SIZE": "4"},
        {"SLURM_PROCID": "2", "SLURM_NTASKS": "4"},
        {"SLURM_PROCID": "2", "SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "4"},
        {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_NTASKS": "4"},
    ],
)
def test_the_variables_of_launchers(environment):
    assert detect(environment=environment) == Ranks(2, 4)


def test_a_batch_script_of_slurm_is_alone_though_it_is_told_of_tasks():
    environment = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}
    assert detect(environment=environment) == Ranks(0, 1)


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "2"},
        {"WORLD_SIZE": "4"},
        {"RANK": "x", "WORLD_SIZE": "4"},
        {"RANK": "4", "WORLD_SIZE": "4"},
        {"RANK": "-1", "WORLD_SIZE": "4"},
    ],
)
def test_variables_that_cannot_be_are_passed_over(environment):
    slurm = {"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}
    assert detect(environment={**environment, **slurm}) == Ranks(1, 3)


def test_mpi4py_is_asked_if_the_program_uses_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi(3, 5))
    assert detect(environment={"RANK": "0", "WORLD_SIZE": "2"}) == Ranks(3, 5)


@pytest.mark.parametrize(
    "module",
    [mpi(3, 5, initialized=False), mpi(3, 5, finalized=True), mpi(0, 1), SimpleNamespace()],
)
def test_an_mpi_that_is_not_up_or_alone_is_passed_over(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", module)
    assert detect(environment={"RANK": "0", "WORLD_SIZE": "2"}) == Ranks(0, 2)


def test_torch_distributed_is_asked_if_the_program_uses_it(monkeypatch):
    group = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True,
        get_rank=lambda: 1, get_world_size=lambda: 2,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch.distributed", group)
    assert detect(environment={}) == Ranks(1, 2)
    group.is_initialized = lambda: False
    assert detect(environment={}) == Ranks(0, 1)


def test_nothing_is_imported_to_find_out():
    detect()
    assert "mpi4py.MPI" not in sys.modules
    assert "torch.distributed" not in sys.modules


def test_a_detector_of_the_user_is_asked_first():
    register_rank_detector(lambda environment: (1, 7))
    assert detect(environment={"RANK": "0", "WORLD_SIZE": "2"}) == Ranks(1, 7)


@pytest.mark.parametrize("wrong", [3, ("1", "4"), (1,), (1, 2, 3), (0, 1.5)])
def test_a_detector_that_gives_something_else_is_named(wrong):
    def mine(environment):
        return wrong

    register_rank_detector(mine)
    with pytest.raises(ValueError, match=r"mine gave .*\(rank, world_size\)"):
        detect()


def test_a_detector_must_be_callable():
    with pytest.raises(ValueError, match="detector"):
        register_rank_detector(3)


@pytest.mark.parametrize(
    ("rank", "world_size", "named"),
    [
        (True, 2, "rank"),
        (-1, 2, "rank"),
        ("0", 2, "rank"),
        (0, 0, "world_size"),
        (0, True, "world_size"),
        (0, 1.5, "world_size"),
        (2, 2, "rank"),
        (3, None, "world_size"),
    ],
)
def test_wrong_numbers_are_refused_by_name(rank, world_size, named):
    with pytest.raises(ValueError, match=named):
        detect(rank, world_size, environment={})


def test_half_of_what_is_said_is_completed():
    environment = {"RANK": "1", "WORLD_SIZE": "3"}
    assert detect(rank=2, environment=environment) == Ranks(2, 3)
    assert detect(world_size=2, environment=environment) == Ranks(1, 2)
    assert detect(world_size=1, environment=environment) == Ranks(0, 1)
