"""PyTorch on the CPU, as a process that is told what to do line by line: `step` computes a gradient and
answers when it is there, `gradient` writes it to a file. Arguments: the folder with problem.json and the arrays, and threads."""

import json
import math
import sys

import numpy
import torch
import torch.nn.functional as F

folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
with open(f"{folder}/problem.json") as file:
    problem = json.load(file)
network = problem["network"]


def read(name, dtype):
    return torch.from_numpy(numpy.fromfile(f"{folder}/{name}.bin", dtype=dtype))


weights = read("weights", numpy.float32)
x = read("x", numpy.int32 if network["kind"] == "gpt" else numpy.float32).reshape(problem["shape"])
y = read("y", numpy.int32).long()
if network["kind"] == "gpt":
    x = x.long()
parameters = []
for parameter in problem["parameters"]:
    size = math.prod(parameter["shape"])
    values = weights[parameter["offset"] : parameter["offset"] + size].reshape(parameter["shape"]).clone()
    parameters.append(values.requires_grad_())


def perceptron(layers, h):
    for at in range(0, len(layers), 2):
        h = F.linear(h if at == 0 else F.relu(h), layers[at], layers[at + 1])
    return h


def convolutional(layers, h):
    h = F.max_pool2d(F.relu(F.conv2d(h, layers[0], layers[1], padding=2)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, layers[2], layers[3])), 2)
    return perceptron(layers[4:], h.flatten(1))


def transformer(layers, tokens):
    width, heads, context = network["width"], network["heads"], network["context"]
    mask = torch.full((context, context), float("-inf")).triu(1)
    h = F.embedding(tokens, layers[0]) + layers[1]
    for at in range(2, len(layers) - 4, 12):
        norm1, shift1, in_weight, in_bias, out_weight, out_bias, norm2, shift2, up, up_bias, down, down_bias = layers[
            at : at + 12
        ]
        projected = F.linear(F.layer_norm(h, (width,), norm1, shift1), in_weight, in_bias)
        query, key, value = (
            part.view(-1, context, heads, width // heads).transpose(1, 2) for part in projected.chunk(3, dim=2)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(width // heads) + mask
        mixed = (scores.softmax(3) @ value).transpose(1, 2).reshape(-1, context, width)
        h = h + F.linear(mixed, out_weight, out_bias)
        h = h + F.linear(F.gelu(F.linear(F.layer_norm(h, (width,), norm2, shift2), up, up_bias)), down, down_bias)
    norm, shift, weight, bias = layers[-4:]
    return F.linear(F.layer_norm(h, (width,), norm, shift), weight, bias).flatten(0, 1)


predict = {"mlp": perceptron, "cnn": convolutional, "gpt": transformer}[network["kind"]]


def step():
    for parameter in parameters:
        parameter.grad = None
    F.cross_entropy(predict(parameters, x), y, reduction="sum").backward()


print("ready", flush=True)
for line in sys.stdin:
    command = line.strip()
    if command == "step":
        step()
        print("done", flush=True)
    if command == "gradient":
        flat = torch.zeros_like(weights)
        for parameter, place in zip(parameters, problem["parameters"]):
            flat[place["offset"] : place["offset"] + parameter.numel()] = parameter.grad.flatten()
        flat.numpy().tofile(f"{folder}/gradient.bin")
        print("written", flush=True)
