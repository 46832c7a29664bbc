"""heard.py HEARD.wav SENT.wav BITS: where what was heard stands in what was sent (noise, which stands there once). Prints how many
frames were heard, and how many in a row are the same in all channels, to so many bits."""

import json
import sys

import numpy
import soundfile


def read(path):
    audio, rate = soundfile.read(path, always_2d=True)
    assert rate == 48000, rate
    loud = numpy.flatnonzero(numpy.abs(audio).max(axis=1) > 0)
    return audio[loud[0] : loud[-1] + 1]


def main(heard, sent, bits):
    heard, sent = read(heard), read(sent)
    # The first channel alone says where; all of them have to be the same there.
    size = len(heard) + len(sent)
    match = numpy.fft.irfft(numpy.fft.rfft(sent[:, 0], size) * numpy.conj(numpy.fft.rfft(heard[:, 0], size)), size)
    at = int(numpy.argmax(match))
    at = at - size if at > len(sent) else at
    first, end = max(0, -at), min(len(heard), len(sent) - at)
    apart = numpy.abs(heard[first:end] - sent[first + at : end + at]).max(axis=1)
    other = numpy.flatnonzero(apart >= 2.0 ** (1 - int(bits)))
    in_a_row = numpy.diff(numpy.concatenate([[-1], other, [end - first]])).max() - 1
    print(json.dumps({"frames": end - first, "same": int(in_a_row)}))


main(*sys.argv[1:])
