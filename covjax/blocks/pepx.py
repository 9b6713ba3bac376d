"""PEPX: projection, expansion, depthwise, projection, extension.

Wang, Lin, Wong: COVID-Net, 2020, Scientific Reports 10:19549, doi
10.1038/s41598-020-76550-z, section "Network design". The order of the five
convolutions is the paper's; widths, normalisation and strides were never published
and are the caller's.

Used by covidnet.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from covjax.blocks.separable import DepthwiseConv


class PEPX(nn.Module):
    """1x1 project, 1x1 expand, 3x3 depthwise, 1x1 project, 1x1 extend.

    `strides` belongs to the first projection, or to the depthwise convolution when
    `stride_depthwise`. No activation follows the last convolution: the block is a
    term of a residual sum.
    """

    project: int
    expand: int
    project_again: int
    extend: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    strides: int = 1
    stride_depthwise: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, extend]``."""
        first, middle = self.strides, 1
        if self.stride_depthwise:
            first, middle = middle, first
        x = self.conv(self.project, 1, strides=first, use_bias=False, name="project")(x)
        x = nn.relu(self.norm(name="project_norm")(x))
        x = self.conv(self.expand, 1, use_bias=False, name="expand")(x)
        x = nn.relu(self.norm(name="expand_norm")(x))
        x = DepthwiseConv(
            3,
            strides=middle,
            padding=1,
            use_bias=False,
            dtype=x.dtype,
            name="depthwise",
        )(x)
        x = self.conv(self.project_again, 1, use_bias=False, name="project_again")(x)
        x = nn.relu(self.norm(name="project_again_norm")(x))
        return self.conv(self.extend, 1, use_bias=True, name="extend")(x)
