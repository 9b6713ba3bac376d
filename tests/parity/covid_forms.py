"""The COVID-19 networks written again with PyTorch's functions, from the papers.

Each form takes the variables of the covjax network (their names are all it shares
with it) and NCHW pictures. `Form` reads one layer after another by its path.
"""

import numpy as np
import torch
import torch.nn.functional as F


class Form:
    """Layers of a variable tree, as PyTorch functions."""

    def __init__(self, variables, epsilon=1e-5, train=False):
        self.params = variables["params"]
        self.stats = variables.get("batch_stats", {})
        self.epsilon = epsilon
        self.train = train

    def at(self, *path):
        """The form of a submodule."""
        inner = Form({"params": self.params}, self.epsilon, self.train)
        inner.params, inner.stats = self.params, self.stats
        for name in path:
            inner.params = inner.params[name]
            inner.stats = inner.stats.get(name, {})
        return inner

    def weight(self, name, leaf):
        return torch.from_numpy(np.array(self.params[name][leaf]))

    def kernel(self, name):
        return self.weight(name, "kernel").permute(3, 2, 0, 1)  # HWIO to OIHW

    def bias(self, name):
        return self.weight(name, "bias") if "bias" in self.params[name] else None

    def conv(self, name, x, **kwargs):
        return F.conv2d(x, self.kernel(name), self.bias(name), **kwargs)

    def same(self, name, x, stride=1, dilation=1, groups=1):
        """TensorFlow's "SAME": as much on both sides, the odd pixel at the end."""
        kernel = self.kernel(name)
        pads = []
        for size, window in zip(x.shape[:1:-1], kernel.shape[:1:-1]):
            reach = (window - 1) * dilation + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(x, pads),
            kernel,
            self.bias(name),
            stride=stride,
            dilation=dilation,
            groups=groups,
        )

    def norm(self, name, x, channels=slice(None)):
        """Normalisation; `channels` picks those of a joined normalisation."""
        parts = [self.weight(name, leaf)[channels] for leaf in ("scale", "bias")]
        mean, var = (
            torch.from_numpy(np.array(self.stats[name][leaf]))[channels]
            for leaf in ("mean", "var")
        )
        return F.batch_norm(x, mean, var, *parts, self.train, 0.0, self.epsilon)

    def dense(self, name, x):
        return F.linear(x, self.weight(name, "kernel").T, self.bias(name))


def rows(x):
    """Flattens in covjax's order, height, width, channels."""
    return x.permute(0, 2, 3, 1).flatten(1)


def darkcovidnet(form, x):
    def dn(form, name, x):
        unit = form.at(name)
        return F.leaky_relu(unit.norm("norm", unit.conv("conv", x, padding=1)), 0.1)

    x = F.max_pool2d(dn(form, "stem", x), 2)
    x = F.max_pool2d(dn(form, "stage1", x), 2)
    for stage in ("stage2", "stage3", "stage4", "stage5"):
        for unit in ("dn1", "dn2", "dn3"):
            x = dn(form.at(stage), unit, x)
        if stage != "stage5":
            x = F.max_pool2d(x, 2)
    x = dn(form, "conv16", dn(form, "conv15", x))
    x = form.norm("norm17", F.relu(form.conv("conv17", x, padding=1)))
    return form.dense("head", rows(x))


def covid_caps(form, x, accumulate=False):
    def squash(s):
        square = (s**2).sum(-1, keepdim=True) + 1e-7
        return s * square.sqrt() / (1 + square)

    def capsules(name, u, out):
        """All predictions, then three rounds of routing."""
        kernel = torch.from_numpy(np.array(form.params[name]["kernel"]))
        u_hat = (u @ kernel).unflatten(-1, (-1, out))  # batch, in, capsules, out
        b = torch.zeros(u_hat.shape[:3])
        for _ in range(3):
            c = b.softmax(-1)
            v = squash((c[..., None] * u_hat).sum(1))
            b = accumulate * b + (u_hat * v[:, None]).sum(-1)
        return v

    x = form.norm("norm1", F.relu(form.conv("conv1", x)))
    x = F.avg_pool2d(F.relu(form.conv("conv2", x)), 2)
    x = F.relu(form.conv("conv4", F.relu(form.conv("conv3", x))))
    x = x.flatten(2).transpose(1, 2)
    x = capsules("capsules2", capsules("capsules1", x, 8), 8)
    return capsules("class_capsules", x, 16).norm(dim=-1)


def covxnet(form, x, dilations, depth, transfer=False):
    def unit(form, name, x, stride=1):
        inner = form.at(name)
        return inner.norm("norm", F.relu(inner.same("conv", x, stride)))

    def dilated(form, x, most, pool):
        """Each dilation with its own ReLU, pooling and normalisation."""
        channels = x.shape[1]
        branches = []
        for d in range(1, most + 1):
            y = form.at("depthwise").same(
                f"dilation{d}", x, dilation=d, groups=channels
            )
            y = F.max_pool2d(F.relu(y), 2) if pool else F.relu(y)
            mine = slice((d - 1) * channels, d * channels)
            branches.append(form.norm("depthwise_norm", y, mine))
        return torch.cat(branches, 1)

    x = unit(form, "stem2", unit(form, "stem1", x), stride=2)
    for stage, most in enumerate(dilations, start=1):
        for i in range(1, depth + 1):
            inner = form.at(f"stage{stage}_residual{i}")
            y = dilated(inner, unit(inner, "widen", x), most, pool=False)
            x = x + unit(inner, "narrow", y)
        if stage < len(dilations):
            inner = form.at(f"stage{stage}_shifter")
            y = dilated(inner, unit(inner, "widen", x), most, pool=True)
            x = unit(inner, "narrow", y)
    if transfer:
        x = unit(form, "transfer2", unit(form, "transfer1", x))
    return form.dense("head", F.relu(form.dense("hidden", x.mean((2, 3)))))


def pepx(form, x, stride=1, stride_depthwise=False):
    first, middle = (1, stride) if stride_depthwise else (stride, 1)
    x = F.relu(form.norm("project_norm", form.conv("project", x, stride=first)))
    x = F.relu(form.norm("expand_norm", form.conv("expand", x)))
    x = form.conv("depthwise", x, stride=middle, padding=1, groups=x.shape[1])
    x = F.relu(form.norm("project_again_norm", form.conv("project_again", x)))
    return form.conv("extend", x)


def covidnet(form, x, blocks, hidden, stride_depthwise=False):
    x = F.max_pool2d(F.relu(form.conv("stem", x, stride=2, padding=3)), 2)
    for stage, count in enumerate(blocks, start=1):
        inner, stride = form.at(f"stage{stage}"), 1 if stage == 1 else 2
        first = pepx(inner.at("block1"), x, stride, stride_depthwise)
        x = inner.conv("shortcut", x, stride=stride) + first
        for i in range(2, count + 1):
            x = x + pepx(inner.at(f"block{i}"), x)
    x = rows(x)
    for i in range(1, hidden + 1):
        x = F.relu(form.dense(f"hidden{i}", x))
    return form.dense("head", x)


def cnn_lstm(form, x):
    for stage, convolutions in enumerate((2, 2, 2, 3, 3), start=1):
        for i in range(1, convolutions + 1):
            x = F.relu(form.conv(f"stage{stage}_conv{i}", x, padding=1))
        x = F.max_pool2d(x, 2)
    x = x.flatten(2).transpose(1, 2)
    lstm = torch.nn.LSTM(512, 512, batch_first=True)  # gates i, f, g, o, as in Keras
    names = ("kernel", "recurrent_kernel", "bias")
    kernel, recurrent, bias = (form.weight("lstm", name) for name in names)
    lstm.load_state_dict(
        {
            "weight_ih_l0": kernel.T,
            "weight_hh_l0": recurrent.T,
            "bias_ih_l0": bias,
            "bias_hh_l0": torch.zeros_like(bias),  # Keras has one bias vector
        }
    )
    x = lstm(x)[0].flatten(1)
    return form.dense("head", F.relu(form.dense("hidden", x)))


def fc_densenet103(form, x):
    def block(name, x, layers):
        inner, new = form.at(name), []
        for i in range(1, layers + 1):
            layer = inner.at(f"layer{i}")
            y = layer.conv("conv", F.relu(layer.norm("norm", x)), padding=1)
            new.append(y)
            x = torch.cat([x, y], 1)
        return x, torch.cat(new, 1)

    x = form.conv("stem", x, padding=1)
    skips = []
    for i, layers in enumerate((4, 5, 7, 10, 12), start=1):
        x, _ = block(f"down{i}", x, layers)
        skips.append(x)
        inner = form.at(f"pool{i}")
        x = F.max_pool2d(inner.conv("conv", F.relu(inner.norm("norm", x))), 2)
    _, new = block("bottleneck", x, 15)
    for i, layers in enumerate((12, 10, 7, 5, 4), start=1):
        inner = form.at(f"unpool{i}")
        # Flax does not turn the kernel around, PyTorch does
        kernel = inner.weight("conv", "kernel").flip(0, 1).permute(2, 3, 0, 1)
        x = F.conv_transpose2d(new, kernel, inner.bias("conv"), stride=2)
        skip = skips.pop()
        height, width = skip.shape[2:]
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        x = torch.cat([x[:, :, top : top + height, left : left + width], skip], 1)
        x, new = block(f"up{i}", x, layers)
    return form.conv("head", x).permute(0, 2, 3, 1)
