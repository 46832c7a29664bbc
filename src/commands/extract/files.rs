//! Files: pieces of a track -> WAV or FLAC files and their sidecars, one for all channels or one for each.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flac_codec::encode::{FlacSampleWriter, Options};

use crate::commands::Failure;
use crate::commands::saved;
use crate::out::Sample;
use crate::out::sidecar::Line;
use crate::out::track::{Piece, Spec};
use crate::out::wave::Wave;

/// Silence is written so many frames at a time.
const SILENCE: i64 = 4_096;
/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;
const BITS: u32 = 32;

/// What was written.
#[derive(Clone, Copy, Default, Debug)]
pub struct Told {
    /// Of audio; of more than one for the same frames each counts.
    pub files: u64,
    pub frames: i64,
    /// Lines about gaps.
    pub gaps: u64,
}

/// One audio file.
struct Audio {
    path: PathBuf,
    /// The one channel that it holds, where it holds one.
    channel: Option<usize>,
    to: Format,
}

enum Format {
    Wav(BufWriter<File>, Wave),
    /// Large beside the other.
    Flac(Box<FlacSampleWriter<BufWriter<File>>>),
}

/// See the top of the file.
pub struct Files {
    folder: PathBuf,
    spec: Spec,
    flac: bool,
    split: bool,
    open: Vec<Audio>,
    sidecar: Option<(PathBuf, BufWriter<File>)>,
    /// Room for the samples of one file.
    bytes: Vec<u8>,
    numbers: Vec<i32>,
    told: Told,
}

impl Files {
    pub fn new(folder: PathBuf, spec: &Spec, flac: bool, split: bool) -> Files {
        let spec = spec.clone();
        let told = Told::default();
        Files {
            folder,
            spec,
            flac,
            split,
            open: Vec::new(),
            sidecar: None,
            bytes: Vec::new(),
            numbers: Vec::new(),
            told,
        }
    }

    pub fn told(&self) -> Told {
        self.told
    }

    /// # Errors
    /// A file that cannot be made or written; the disk is full.
    pub fn take(&mut self, piece: Piece<'_>) -> Result<(), Failure> {
        match piece {
            Piece::Begin { first, at } => self.begin(&saved::name(&self.spec.array, at, first)),
            Piece::Samples(samples) => self.samples(samples),
            Piece::Silence(frames) => {
                let zeros = vec![[0; 4]; SILENCE.min(frames) as usize * self.spec.channels];
                let mut left = frames;
                while left > 0 {
                    let now = left.min(SILENCE);
                    self.samples(&zeros[..now as usize * self.spec.channels])?;
                    left -= now;
                }
                Ok(())
            }
            Piece::Line(line) => {
                self.told.gaps += u64::from(matches!(line, Line::Gap { .. }));
                let (path, file) = self.sidecar.as_mut().expect("a file was begun");
                file.write_all(line.text().as_bytes()).map_err(|error| cannot_write(path, &error))
            }
            Piece::End { frames } => {
                self.told.frames += frames;
                for audio in std::mem::take(&mut self.open) {
                    audio.to.end(frames).map_err(|error| cannot_write(&audio.path, &error))?;
                }
                match self.sidecar.take() {
                    Some((path, mut file)) => file.flush().map_err(|error| cannot_write(&path, &error)),
                    None => Ok(()),
                }
            }
        }
    }

    fn begin(&mut self, stem: &str) -> Result<(), Failure> {
        let channels = if self.split { (0..self.spec.channels).map(Some).collect() } else { vec![None] };
        for channel in channels {
            let whose = channel.map_or(String::new(), |channel| format!("-mic{channel}"));
            let path = self.folder.join(format!("{stem}{whose}.{}", if self.flac { "flac" } else { "wav" }));
            let of = if channel.is_some() { 1 } else { self.spec.channels };
            let to = self.format(&path, of).map_err(|error| cannot_write(&path, &error))?;
            self.open.push(Audio { path, channel, to });
            self.told.files += 1;
        }
        let path = self.folder.join(format!("{stem}.jsonl"));
        let file = File::create_new(&path).map_err(|error| cannot_write(&path, &error))?;
        self.sidecar = Some((path, BufWriter::new(file)));
        Ok(())
    }

    fn format(&self, path: &Path, channels: usize) -> io::Result<Format> {
        let mut file = BufWriter::with_capacity(BUFFER, File::create_new(path)?);
        if self.flac {
            // Of a length that is not known before the end; and a day's table of seek points would be kept until then.
            let options = Options::fast().no_seektable();
            let writer = FlacSampleWriter::new(file, options, self.spec.rate, BITS, channels as u8, None);
            return Ok(Format::Flac(Box::new(writer.map_err(io::Error::other)?)));
        }
        let wave = Wave { channels: channels as u16, rate: self.spec.rate, sample: Sample::S32le };
        file.write_all(&wave.header(0))?;
        Ok(Format::Wav(file, wave))
    }

    fn samples(&mut self, samples: &[[u8; 4]]) -> Result<(), Failure> {
        let wide = self.spec.channels;
        for audio in &mut self.open {
            let (first, step) = audio.channel.map_or((0, 1), |channel| (channel, wide));
            let own = samples.iter().skip(first).step_by(step);
            let written = match &mut audio.to {
                Format::Wav(file, _) if step == 1 => file.write_all(samples.as_flattened()),
                Format::Wav(file, _) => {
                    self.bytes.clear();
                    self.bytes.extend(own.flatten());
                    file.write_all(&self.bytes)
                }
                Format::Flac(writer) => {
                    self.numbers.clear();
                    self.numbers.extend(own.map(|four| i32::from_le_bytes(*four)));
                    writer.write(&self.numbers).map_err(io::Error::other)
                }
            };
            written.map_err(|error| cannot_write(&audio.path, &error))?;
        }
        Ok(())
    }
}

impl Format {
    fn end(self, frames: i64) -> io::Result<()> {
        match self {
            Format::Wav(mut file, wave) => {
                file.seek(SeekFrom::Start(0))?;
                file.write_all(&wave.header(frames.unsigned_abs()))?;
                file.flush()
            }
            Format::Flac(writer) => writer.finalize().map_err(io::Error::other),
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot write {}: {error}", path.display()))
}
