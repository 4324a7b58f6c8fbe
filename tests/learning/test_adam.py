"""The learner's Adam against torch.optim.Adam, number for number."""

import subprocess
import sys

import torch

from art_rl.learning.adam import Adam


def run(steps, rates, resume_at=None):
    """Parameters after each step of our Adam and of torch's, on the same rough loss."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(n, dtype=torch.float64, generator=generator) for n in (3, 5, 2)]
    ours, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
    adam, reference = Adam(ours), torch.optim.Adam(theirs)
    path = []
    for step in range(steps):
        if step == resume_at:
            state = {key: value.clone() for key, value in adam.state().items()}
            adam = Adam(ours)
            adam.restore(state)
        for parameters, optimizer in ((ours, adam), (theirs, reference)):
            optimizer.zero_grad()
            # The last parameter gets a gradient at every other step only.
            used = parameters if step % 2 else parameters[:2]
            sum((p.sin() * (step + 1)).square().sum() for p in used).backward()
        adam.step(rates[step])
        reference.param_groups[0]["lr"] = rates[step]
        reference.step()
        path.append(([p.detach().clone() for p in ours], [p.detach().clone() for p in theirs]))
    return path


def test_every_step_equals_torch_optim_adam():
    rates = [0.1 / (1 + k) for k in range(20)]
    for ours, theirs in run(20, rates):
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)


def test_a_restored_state_continues_as_if_never_interrupted():
    rates = [0.05] * 12
    ours, theirs = run(12, rates, resume_at=7)[-1]
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_the_reason_it_exists_still_holds():
    """No torch._dynamo with ours; if torch.optim.Adam no longer needs it either, drop ours."""
    code = """
import sys, torch
{make}
p = torch.ones(2, requires_grad=True)
optimizer = {adam}
p.sum().backward()
{step}
print("torch._dynamo" in sys.modules)
"""
    ours = code.format(
        make="from art_rl.learning.adam import Adam", adam="Adam([p])", step="optimizer.step(0.1)"
    )
    theirs = code.format(make="", adam="torch.optim.Adam([p])", step="optimizer.step()")
    seen = [
        subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=True
        ).stdout.strip()
        for text in (ours, theirs)
    ]
    assert seen == ["False", "True"]
