"""audacity.py IN.wav OUT.wav: opens a file in Audacity, on a display of its own, and has it write what it opened, a track after the
other: what it writes at once it mixes. Prints the tracks that it saw, as JSON. Audacity is asked through its own scripting module
(mod-script-pipe), the names of its windows through xdotool."""

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import soundfile

MODULE = "/usr/lib/audacity/modules/mod-script-pipe.so"
# A module that Audacity does not know yet is asked about in a dialogue.
CONFIG = """NewPrefsInitialized=1
[Directories]
TempDir={home}/temp
[ModulePath]
mod-script-pipe={module}
[Module]
mod-script-pipe=1
[ModuleDateTime]
mod-script-pipe={date:%Y-%m-%dT%H:%M:%S}
[Update]
DefaultUpdatesChecking=0
"""
PIPES = [Path(f"/tmp/audacity_script_pipe.{way}.{os.getuid()}") for way in ("to", "from")]


def ask(to, answers, command):
    to.write(command + "\n")
    to.flush()
    lines = []
    for line in answers:
        if line.startswith("BatchCommand finished"):
            answers.readline()
            if "OK" not in line:
                sys.exit(f"{command}: {line}")
            return "".join(lines)
        lines.append(line)
    sys.exit(f"{command}: Audacity is gone")


def talk(audacity, env, source, target):
    def wait_for(what):
        while not what():
            if audacity.poll() is not None:
                sys.exit(f"Audacity ended: {audacity.returncode}")
            time.sleep(0.1)

    def shows(name):
        return subprocess.run(["xdotool", "search", "--name", name], env=env, capture_output=True).stdout

    wait_for(lambda: all(pipe.exists() for pipe in PIPES))
    with PIPES[0].open("w") as to, PIPES[1].open() as answers:
        # What it is asked before it has opened the file, and welcomed its user, is lost.
        wait_for(lambda: shows(f"^{source.stem}$") and shows("^Welcome to Audacity"))
        tracks = json.loads(ask(to, answers, "GetInfo: Type=Tracks"))
        ask(to, answers, "SelectAll:")
        channels = []
        for n in range(len(tracks)):
            ask(to, answers, f"SelectTracks: Track={n} TrackCount=1")
            ask(to, answers, f"Export2: Filename={env['HOME']}/{n}.wav NumChannels=1")
            channels.append(soundfile.read(f"{env['HOME']}/{n}.wav"))
    soundfile.write(target, numpy.stack([audio for audio, _ in channels], axis=1), channels[0][1], subtype="PCM_16")
    print(json.dumps(tracks))


def main(source, target):
    with tempfile.TemporaryDirectory(prefix="micring-audacity-") as home:
        config = Path(home, ".config/audacity/audacity.cfg")
        config.parent.mkdir(parents=True)
        date = datetime.datetime.fromtimestamp(int(os.stat(MODULE).st_mtime), datetime.timezone.utc)
        config.write_text(CONFIG.format(home=home, module=MODULE, date=date))
        for pipe in PIPES:
            pipe.unlink(missing_ok=True)
        read, write = os.pipe()
        screen = subprocess.Popen(["Xvfb", "-displayfd", str(write)], pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        display = f":{os.read(read, 16).decode().strip()}"
        env = {**os.environ, "HOME": home, "XDG_RUNTIME_DIR": home, "DISPLAY": display, "TZ": "UTC"}
        audacity = subprocess.Popen(["audacity", source], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            talk(audacity, env, Path(source), target)
        finally:
            for process in (audacity, screen):
                process.kill()
                process.wait()


main(*sys.argv[1:])
