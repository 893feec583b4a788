import gymnasium as gym
import torch
from torch import nn

policy = nn.Linear(4, 2)
optimizer = torch.optim.Adam(policy.parameters())
env = gym.make("CartPole-v1")
for episode in range(100):
    state, _ = env.reset()
    log_probability = policy(torch.tensor(state)).log_softmax(-1)[0]
    loss = -log_probability
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
