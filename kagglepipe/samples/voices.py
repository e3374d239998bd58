"""Spoken digits that are drawn: harmonics of a pitch under the resonances of a vocal tract, and hisses.

Source and filter: Fant 1960, "Acoustic theory of speech production". Frequencies of vowels: Peterson & Barney 1952.
"""

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 8000  # Hz
VOICED = {  # the three lowest resonances, in Hz, of a man, and how loud
    "i": (300, 2300, 3000, 1.0), "e": (530, 1850, 2500, 1.0), "a": (730, 1100, 2450, 1.0), "o": (500, 850, 2400, 1.0),
    "u": (310, 870, 2250, 0.9), "r": (400, 1150, 1500, 0.7), "n": (250, 1450, 2300, 0.35), "v": (250, 1100, 2100, 0.3),
}  # fmt: skip
HISSES = {"s": (2800, 3900, 0.25), "f": (1200, 3900, 0.08), "t": (1800, 3600, 0.3)}  # lowest and highest Hz, how loud
WORDS = ("sero", "uan", "tu", "fri", "for", "fav", "siss", "seven", "et", "nan")  # 0 to 9, a letter a sound
WIDTH = 90.0  # Hz, of a resonance
LONG, SHORT = 0.14, 0.07  # seconds of a vowel, and of another sound


@dataclass(frozen=True)
class Voice:
    """pitch: Hz. tract: factor of all resonances, below 1 of a long vocal tract. pace: factor of durations."""

    pitch: float
    tract: float
    pace: float


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draw a voice between those of men and children."""
    high = rng.uniform()
    return Voice(100 * 2.2**high, 0.92 * 1.3 ** (0.7 * high + 0.3 * rng.uniform()), rng.uniform(0.8, 1.3))


def speak(digit: int, voice: Voice, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a digit in a voice, each time a little different: (N,) samples at 8 kHz, in -1…1."""
    word = WORDS[digit]
    usual = np.array([LONG if letter in "aeiou" else SHORT for letter in word]) * voice.pace
    ends = np.cumsum(usual * rng.uniform(0.8, 1.25, len(word)))
    t = np.arange(int(ends[-1] * RATE)) / RATE
    middles = ends - np.diff(ends, prepend=0) / 2
    pitch = voice.pitch * (1 + rng.uniform(-0.08, 0.08)) * (1.08 - 0.16 * t / ends[-1])  # falls towards the end
    table = np.array([VOICED.get(letter, (400, 1500, 2500, 0.0)) for letter in word])
    table[:, :3] *= voice.tract * rng.uniform(0.95, 1.05, (len(word), 3))
    *resonances, loud = (np.interp(t, middles, column) for column in table.T)
    sound, phase = np.zeros(len(t)), 2 * np.pi * np.cumsum(pitch) / RATE
    for harmonic in range(1, int(RATE / 2 / pitch.max())):
        gain = sum(1 / (1 + ((harmonic * pitch - one) / WIDTH) ** 2) / (n + 1) for n, one in enumerate(resonances))
        sound += gain * loud * np.sin(harmonic * phase) / harmonic**0.5
    for letter, end, begin in zip(word, ends, [0.0, *ends], strict=False):
        if letter in HISSES:
            sound += hiss(*HISSES[letter], t, (begin, end), rng)
    sound = sound / np.abs(sound).max() * 10 ** rng.uniform(-1, 0) + rng.normal(0, 2e-3, len(t))
    return np.clip(sound, -1, 1).astype(np.float32)


def hiss(
    lowest: float, highest: float, loud: float, t: NDArray[np.float64], span: tuple[float, float],
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # fmt: skip
    """Draw noise between two frequencies that lasts from begin to end, at times t (N,) in seconds."""
    spectrum = np.fft.rfft(rng.normal(size=len(t)))
    frequencies = np.fft.rfftfreq(len(t), 1 / RATE)
    noise = np.fft.irfft(spectrum * ((frequencies >= lowest) & (frequencies <= highest)), len(t))
    inside = np.clip(np.minimum(t - span[0], span[1] - t) / 0.01, 0, 1)  # rises and falls within 10 ms
    found: NDArray[np.float64] = loud * noise * inside * 3
    return found


def write_wav(path: Path, sound: NDArray[np.float32]) -> None:
    """Write samples (N,) in -1…1 as a WAV of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
