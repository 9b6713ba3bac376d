"""COVID-Net: residual PEPX blocks. Reconstructions, not the published graphs.

Wang, Lin, Wong: COVID-Net: a tailored deep convolutional neural network design for
detection of COVID-19 cases from chest X-ray images, 2020, Scientific Reports
10:19549, doi 10.1038/s41598-020-76550-z, arXiv 2003.09871, figures; the layer list
was never published.

* ``covidnet_b``: COVIDNet-CXR3-B, 480 pixels, three classes. 11,703,883 parameters
  (published: 11.7 M) and 7.50 billion multiply-adds (published: 7.50).
* ``covidnet_small``: COVIDNet-CXR Small of the preprint, 224 pixels, three classes.
  116,533,923 parameters and 2.21 billion multiply-adds (published: 116.6 M and 2.26 in
  the second version, 117.4 M and 2.26 in the third).

Differs from the paper: known are the order of convolutions in a PEPX block, the
widths of the residual stream, the number of blocks and the picture size. The widths
inside the blocks were chosen so that both counts above come out, which is a fit and
no evidence of the true widths; normalisation, its constants, the stem, and where the
strides stand are guesses, and that B has no dense layer before its classifier is
inferred. The stream is that of a pre-activation ResNet-50 without the
activation (after tensor names of the released graphs).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.pepx import PEPX
from covjax.blocks.pooling import max_pool, require_size

MIN_SIZE = 4  # stem and pooling leave one pixel; later strides keep one


class Widths(NamedTuple):
    """One stage: channels of the stream, blocks, and channels inside the blocks."""

    stream: int
    blocks: int
    project: int
    expand: int
    project_again: int


class Stage(nn.Module):
    """A strided 1x1 shortcut plus one PEPX block, then blocks added one by one."""

    widths: Widths
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    stride_depthwise: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, stream]``."""
        stream, blocks, project, expand, project_again = self.widths
        block = partial(
            PEPX, project, expand, project_again, stream, self.conv, self.norm
        )
        shortcut = self.conv(stream, 1, strides=self.strides, name="shortcut")(x)
        first = block(self.strides, self.stride_depthwise, name="block1")
        x = shortcut + first(x)
        for i in range(1, blocks):
            x = x + block(name=f"block{i + 1}")(x)
        return x


class COVIDNet(nn.Module):
    """Stem, four stages of PEPX blocks, dense layers over the last map's pixels.

    `stride_depthwise` moves the strides of stages 2 to 4 from the first projection
    to the depthwise convolution, as the figure of the later CXR-2 network has it.
    """

    num_classes: int
    stem: int
    stages: tuple[Widths, ...]
    hidden: tuple[int, ...]  # widths of dense layers before the classifier
    stride_depthwise: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "COVID-Net")
        conv = partial(Conv, dtype=self.dtype, kernel_init=nn.initializers.he_normal())
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,  # unknown
            epsilon=1e-5,  # unknown
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        x = nn.relu(conv(self.stem, 7, strides=2, padding=3, name="stem")(x))
        x = max_pool(x, 2, 2)
        for i, widths in enumerate(self.stages):
            strides = 1 if i == 0 else 2
            x = Stage(
                widths, strides, conv, norm, self.stride_depthwise, name=f"stage{i + 1}"
            )(x)
        x = spatial_map(self, x)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"hidden{i + 1}")(x))
        return nn.Dense(self.num_classes, dtype=jnp.float32, name="head")(x)


COVIDNetB = partial(
    COVIDNet,
    stem=56,
    stages=(
        Widths(200, 3, 48, 56, 56),
        Widths(416, 4, 88, 112, 112),
        Widths(824, 6, 176, 216, 216),
        Widths(2048, 3, 344, 424, 424),
    ),
    hidden=(),
)
COVIDNetSmall = partial(
    COVIDNet,
    stem=64,
    stages=tuple(
        Widths(width, blocks, 3 * width // 16, 3 * width // 8, 3 * width // 16)
        for width, blocks in ((256, 3), (512, 4), (1024, 6), (2048, 3))
    ),
    hidden=(1024, 1024),
)
