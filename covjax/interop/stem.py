"""The first convolution of a pretrained network, made to read this run's pictures.

Published networks read pictures ``(p_c - m_c) / s_c`` with a mean and a deviation for
each of three channels; a run reads ``x = (p - m) / s``. With ``p = s x + m``::

    sum_c K_c * (p_c - m_c) / s_c  =  sum_c (K_c s / s_c) * x_c  +  sum_c d_c (K_c * 1)
    d_c = (m - m_c) / s_c

The first term is a convolution of x, and for a grey picture, the same p in every
channel, one with a single kernel, the sum over c. The second is a convolution of
ones with the same zero padding as x: a constant inside the picture and less at its
border, where part of the kernel sees padding. A bias would be wrong there, and no
other padding value is right for all kernels; so the constant gets a channel of its
own, `covjax.models.constant.ConstantChannel`, and the identity holds everywhere.
Where all d_c are 0 (equal means) that channel is not needed.
"""

import numpy as np

from covjax.errors import InputError
from covjax.interop.names import Normalisation


def fold(
    kernel: np.ndarray,
    shape: tuple[int, ...],
    theirs: Normalisation,
    ours: Normalisation,
    channels: int,
) -> np.ndarray:
    """The kernel that gives for our pictures what `kernel` gave for theirs.

    Args:
      kernel: ``[height, width, their channels, out]``; one channel more than
        ``theirs.mean`` is a constant channel, that of another covjax run.
      shape: of the result; its third number is `channels`, or one more with a
        constant channel.
      theirs: normalisation of the pictures that `kernel` was trained on.
      ours: normalisation of this run's pictures, one value or one a channel.
      channels: of this run's pictures; 1 takes grey pictures for ones with equal
        channels.

    Returns:
      float64 ``[height, width, in, out]``.

    Raises:
      InputError: where no such kernel exists: other numbers of channels, or a
        constant is left over that has no channel.
    """
    count = len(theirs.mean)
    constant = kernel[:, :, count:].sum(axis=2, keepdims=True)
    kernel = kernel[:, :, :count].astype(np.float64)
    if channels not in (1, count):
        raise InputError(
            f"config.data.channels={channels}: the weights take pictures of {count} "
            f"channels; must be 1 or {count}"
        )
    mean, std = (np.broadcast_to(v, count) for v in (ours.mean, ours.std))
    factors = (std / np.array(theirs.std)).reshape(1, 1, -1, 1)
    offsets = (mean - np.array(theirs.mean)) / np.array(theirs.std)
    planes = kernel * factors
    if channels == 1:
        planes = planes.sum(axis=2, keepdims=True)
    if shape[2] == channels + 1:
        extra = (kernel * offsets.reshape(1, 1, -1, 1)).sum(axis=2, keepdims=True)
        return np.concatenate([planes, extra + constant], axis=2)
    if np.any(offsets) or np.any(constant):
        advice = "" if channels == 1 else f"config.data.mean={theirs.mean} or "
        raise InputError(
            f"config.data.mean={ours.mean}: the weights were trained on pictures less "
            f"{theirs.mean}; set {advice}config.model.kwargs.constant_channel=True"
        )
    return planes
