"""The one spectrum all descriptor families are computed from.

Conventions: windows are mono float32 at 22,050 Hz, brought to zero mean and unit RMS first, so that
every level below is relative to the window's own and gain drops out. Frames are 2,048 samples every
512, not padded: T = 1 + (samples - 2048) // 512. The Hann taper has unit energy, so that white
noise of unit RMS has power 1 in every bin. Only 32 Hz to 10 kHz is kept: below lie DC and rumble,
above lies what resampling filters and lossy codecs remove.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAMPLE_RATE = 22_050
N_FFT = 2048
HOP = 512
#: Frames a second.
FRAME_RATE = SAMPLE_RATE / HOP
#: Bins kept of the 1,025.
BINS = slice(3, 930)
#: Centre frequency of each kept bin, Hz, float32 [bins].
FREQUENCIES: Floats = (np.arange(N_FFT // 2 + 1)[BINS] * SAMPLE_RATE / N_FFT).astype(np.float32)
#: Power added to every bin (-80 dB against white noise of the window's level), so that logarithms
#: are finite and what lies below hearing does not count.
FLOOR = 1e-8
#: RMS under which a window is taken for silence (-120 dBFS) and not amplified further.
SILENCE = 1e-6

_hann = np.hanning(N_FFT + 1)[:-1]
_TAPER: Floats = (_hann / np.sqrt(np.sum(_hann**2))).astype(np.float32)


@dataclass(frozen=True)
class Spectrum:
    """One window's short-time spectrum; every array is float32 [T, bins].

    Attributes
    ----------
    power, magnitude, log_power : float32 [T, bins]
        Power with :data:`FLOOR` added, its square root and its natural logarithm.
    """

    power: Floats
    magnitude: Floats
    log_power: Floats


def frame_count(samples: int) -> int:
    """Frames T that a window of ``samples`` samples has."""
    return 1 + (samples - N_FFT) // HOP


def level(batch: Floats) -> Floats:
    """Bring each window to zero mean and unit RMS.

    Parameters
    ----------
    batch : float32 [n, samples]
        Any gain, any offset; values that are not finite count as 0.

    Returns
    -------
    float32 [n, samples]
        A new array; a silent window stays silent.
    """
    x = np.array(batch, dtype=np.float32, copy=True, ndmin=2)
    np.nan_to_num(x, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    # Bounds the squares below without touching anything that could be audio.
    np.clip(x, -1e6, 1e6, out=x)
    x -= x.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    rms = np.sqrt(np.einsum("ij,ij->i", x, x) / x.shape[1])
    x /= np.maximum(rms, SILENCE)[:, None]
    return x


def spectrum(samples: Floats) -> Spectrum:
    """Short-time spectrum of one levelled window.

    Parameters
    ----------
    samples : float32 [samples]
        One row of :func:`level`.

    Returns
    -------
    Spectrum
    """
    from scipy.fft import rfft

    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP] * _TAPER
    bins = rfft(frames, axis=-1, overwrite_x=True)[:, BINS]
    power = np.square(bins.real)
    power += np.square(bins.imag)
    power += np.float32(FLOOR)
    return Spectrum(power=power, magnitude=np.sqrt(power), log_power=np.log(power))
