"""Balance a pole on a cart: REINFORCE on batches of episodes, on one device.

python policy_gradient.py             # 60 updates of 32 episodes each
python policy_gradient.py --quick     # 10 updates, for a first look

The cart is the one of Barto, Sutton and Anderson (1983), written out here. A step that leaves the pole standing is
worth 1; an episode ends when the pole leans by more than 12 degrees, the cart leaves its track, or after 200 steps.
"""

import argparse
import math

import hora.torch as hvd
import torch
from torch import nn

LONGEST = 200
GAMMA = 0.98


def moved(states, actions):
    """The carts 0.02 s later, Euler's way; states are rows of place, speed, angle, and speed of the angle."""
    gravity, mass, pole_mass, half, force, seconds = 9.8, 1.1, 0.1, 0.5, 10.0, 0.02
    place, speed, angle, turning = states.unbind(dim=1)
    push = torch.where(actions == 1, force, -force)
    sine, cosine = angle.sin(), angle.cos()
    pressed = (push + pole_mass * half * turning**2 * sine) / mass
    turned = (gravity * sine - cosine * pressed) / (half * (4 / 3 - pole_mass * cosine**2 / mass))
    sped = pressed - pole_mass * half * turned * cosine / mass
    after = [place + seconds * speed, speed + seconds * sped, angle + seconds * turning, turning + seconds * turned]
    return torch.stack(after, dim=1)


def standing(states):
    return (states[:, 0].abs() < 2.4) & (states[:, 2].abs() < math.radians(12))


@torch.no_grad()
def play(policy, episodes, draw):
    """Play episodes side by side.

    Returns states (steps, episodes, 4), actions (steps, episodes), and which of these steps were played, as each
    episode ends when its own pole falls.
    """
    states = 0.1 * torch.rand(episodes, 4, generator=draw) - 0.05
    alive = torch.ones(episodes, dtype=torch.bool)
    seen, done, played = [], [], []
    while alive.any() and len(seen) < LONGEST:
        probabilities = policy(states).softmax(dim=1)
        actions = torch.multinomial(probabilities, 1, generator=draw).squeeze(1)
        seen.append(states)
        done.append(actions)
        played.append(alive)
        states = moved(states, actions)
        alive = alive & standing(states)
    return torch.stack(seen), torch.stack(done), torch.stack(played)


def returns(played):
    """What each step was worth: itself and the discounted rest of its episode."""
    worth, rest = [], torch.zeros(played.shape[1])
    for step in reversed(played.float()):
        rest = step * (1 + GAMMA * rest)
        worth.append(rest)
    return torch.stack(worth[::-1])


def loss_of(policy, states, actions, played):
    """REINFORCE: these steps' part of the mean over the steps of all workers; the workers' parts add up to it."""
    worth = returns(played)[played].to(states.dtype)
    steps = hvd.allreduce(len(worth), op=hvd.Sum)
    mean = hvd.allreduce(worth.sum(), op=hvd.Sum) / steps
    spread = (hvd.allreduce((worth - mean).square().sum(), op=hvd.Sum) / steps).sqrt()
    advantages = (worth - mean) / (spread + 1e-6)
    scores = policy(states[played]).log_softmax(dim=1)
    chosen = scores.gather(1, actions[played].unsqueeze(1)).squeeze(1)
    return -(chosen * advantages).sum() / steps


def main():
    hvd.init()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--episodes", type=int, default=32, help="in a batch")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default="policy_gradient.pt")
    parser.add_argument("--quick", action="store_true", help="10 updates")
    args = parser.parse_args()
    if args.quick:
        args.updates = 10
    if hvd.size() > args.episodes:
        parser.error(f"{hvd.size()} workers need at least as many episodes")

    torch.manual_seed(args.seed)
    # Each worker plays its share of the episodes, with luck of its own.
    episodes = args.episodes * (hvd.rank() + 1) // hvd.size() - args.episodes * hvd.rank() // hvd.size()
    draw = torch.Generator().manual_seed(args.seed + 1000 * hvd.rank())
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=args.lr)
    optimizer = hvd.DistributedOptimizer(optimizer)
    hvd.broadcast_parameters(policy.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    for update in range(1, args.updates + 1):
        states, actions, played = play(policy, episodes, draw)
        loss = loss_of(policy, states, actions, played)
        optimizer.zero_grad()
        (loss * hvd.size()).backward()  # gradients are averaged, and the parts are to be added up
        optimizer.step()
        if update % 5 == 0:
            steps = hvd.allreduce(played.sum().item(), op=hvd.Sum)
            if hvd.rank() == 0:
                print(f"update {update}: an episode lasts {steps / args.episodes:.1f} steps")

    if hvd.rank() == 0:
        torch.save(policy.state_dict(), args.checkpoint)


if __name__ == "__main__":
    main()
