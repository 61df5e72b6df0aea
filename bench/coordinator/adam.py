"""PyTorch's Adam over one tensor on one thread, as a process: `step <n>` takes n steps and answers with the seconds.
Argument: the number of parameters. Its gradient is given as float32, so it decodes nothing."""

import sys
import time

import torch

torch.set_num_threads(1)
parameter = torch.sin(torch.arange(int(sys.argv[1]), dtype=torch.float32)).div_(16).requires_grad_()
parameter.grad = torch.cos(torch.arange(int(sys.argv[1]), dtype=torch.float32))
adam = torch.optim.Adam([parameter], lr=1e-3)
adam.step()
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line.split()[1])):
        adam.step()
    print(time.perf_counter() - start, flush=True)
