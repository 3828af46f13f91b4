"""Training a small network with torch, which can be killed at any batch and goes on from there.

What a restart has to bring back is all that the next batch depends on: the weights, the state of
the optimizer, the order in which the data comes, and the random generator that drops units out.
They are the fields of one dataclass; tensors in it are stored as they are, nothing is pickled::

    $ python examples/training.py              # press Ctrl-C, or kill -9 it, half-way
    $ python examples/training.py              # goes on at the batch after the last commit

Killed or not, the digest that is printed at the end is the same. It takes torch (``pip install
torch``).
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from parsl_ckpt.restart import Checkpoint


@dataclass
class Training:
    """What the next batch depends on."""

    weights: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[Any, Any] = field(default_factory=dict)
    rng: Any = None
    order: Any = None
    losses: list[float] = field(default_factory=list)


def data(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two noisy spirals, the same each time."""
    rng = torch.Generator().manual_seed(1)
    turn = torch.linspace(0.5, 3.0, samples) * torch.pi
    side = torch.arange(samples) % 2
    spiral = torch.stack([turn.cos(), turn.sin()], 1) * turn[:, None] * (1 - 2 * side)[:, None]
    return spiral + 0.2 * torch.randn(samples, 2, generator=rng), side.float()


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Dropout(0.1),
        torch.nn.Linear(32, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1),
    )  # fmt: skip


def train(options: argparse.Namespace) -> tuple[torch.nn.Module, Any]:
    points, sides = data(options.samples)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    checkpoint = Checkpoint(
        "training", path=options.out, mode="append", history_size=2, flush_interval=options.every
    )
    batches = options.samples // options.batch
    with checkpoint as ckpt:
        state = ckpt.bind(Training())
        if ckpt.exists:
            print(f"Going on after {ckpt.write_count} batches.", flush=True)
            model.load_state_dict(state.weights)
            optimizer.load_state_dict(state.optimizer)
            torch.set_rng_state(state.rng)
        for step in range(ckpt.write_count, options.epochs * batches):
            if step % batches == 0:
                state.order = torch.randperm(options.samples)
            first = step % batches * options.batch
            chosen = state.order[first : first + options.batch]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(points[chosen])[:, 0], sides[chosen]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state.losses = [*state.losses[-99:], float(loss)]
            state.weights = dict(model.state_dict())
            state.optimizer = optimizer.state_dict()
            state.rng = torch.get_rng_state()
            ckpt.write(step=step, loss=float(loss))
    return model, state


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Training a network on two spirals.")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--every", type=int, default=16, help="batches between two commits")
    parser.add_argument("--out", type=Path, default=Path("training"), help="the checkpoint")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # sums in another order would be other bits
    model, state = train(options)
    digest = hashlib.blake2b(digest_size=8)
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    print(f"loss {sum(state.losses) / len(state.losses):.4f}, weights {digest.hexdigest()}")


if __name__ == "__main__":
    main()
