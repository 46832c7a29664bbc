//! What more of something costs: subscribers, packets a second, arrays, channels, seconds of history, seconds of a recording. CPU should
//! grow linearly, latency stay flat until the limit.

mod measures;

pub(super) use measures::Folder;

use anyhow::{Context, Result};

use super::Outcome;
use crate::plot::{Line, Plot};
use crate::rig::Rig;
use crate::stats::Sheet;

/// What was measured at one step.
type Figures = Vec<(&'static str, f64)>;

/// Something that grows, and what is measured at each step.
struct Growth {
    /// What it grows with.
    title: &'static str,
    log_x: bool,
    steps: &'static [usize],
    quick: &'static [usize],
    measure: fn(&Rig, usize) -> Result<Figures>,
    plots: &'static [Drawn],
}

/// A plot of some of the figures.
struct Drawn {
    file: &'static str,
    title: &'static str,
    y: &'static str,
    log_y: bool,
    metrics: &'static [&'static str],
}

const GROWTHS: [Growth; 6] = [
    Growth {
        title: "subscribers",
        log_x: false,
        steps: &[1, 25, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100],
        quick: &[1, 10],
        measure: measures::subscribers,
        plots: &[
            Drawn::percent("growth-cpu", "CPU against subscribers", &["CPU %"]),
            Drawn::delay("growth-latency", "Delivery against subscribers", &["p50 us", "p99 us"]),
            Drawn::memory("growth-memory", "Memory against subscribers", &["resident MiB"]),
        ],
    },
    Growth {
        title: "packet rate, times 281 a second",
        log_x: true,
        steps: &[1, 2, 4, 8, 16, 32, 64, 128, 256],
        quick: &[1, 4],
        measure: measures::packet_rate,
        plots: &[
            Drawn {
                file: "growth-packet-cpu",
                title: "CPU a packet against packet rate",
                y: "us",
                log_y: false,
                metrics: &["CPU us / packet"],
            },
            Drawn::delay(
                "growth-packet-delay",
                "Loop delay against packet rate",
                &["loop delay p50 us", "loop delay p99 us"],
            ),
        ],
    },
    Growth {
        title: "arrays of three",
        log_x: false,
        steps: &[1, 10, 25, 50, 75, 100, 150],
        quick: &[1, 3],
        measure: measures::arrays,
        plots: &[
            Drawn::percent("growth-arrays-cpu", "CPU against arrays", &["CPU %"]),
            Drawn::memory("growth-arrays-memory", "Memory against arrays", &["resident MiB"]),
        ],
    },
    Growth {
        title: "microphones of one array",
        log_x: false,
        steps: &[3, 4, 6, 8, 12, 16],
        quick: &[3, 5],
        measure: measures::microphones,
        plots: &[Drawn::percent("growth-channels-cpu", "CPU against microphones of one array", &["CPU %"])],
    },
    Growth {
        title: "seconds of history",
        log_x: false,
        steps: &[1, 5, 10, 20, 40, 60],
        quick: &[1, 5],
        measure: measures::history,
        plots: &[
            Drawn::memory("growth-history-memory", "Memory against seconds of history", &["resident MiB"]),
            Drawn::percent("growth-history-cpu", "CPU against seconds of history", &["CPU %"]),
        ],
    },
    Growth {
        title: "seconds of a recording",
        log_x: false,
        steps: &[30, 60, 120, 300, 600],
        quick: &[2, 4],
        measure: measures::recording,
        plots: &[
            Drawn {
                file: "growth-recording-cpu",
                title: "CPU against the length of a recording",
                y: "s",
                log_y: false,
                metrics: &["analyze: CPU s", "extract: CPU s"],
            },
            Drawn::memory(
                "growth-recording-memory",
                "Memory against the length of a recording",
                &["analyze: most MiB", "extract: most MiB"],
            ),
        ],
    },
];

impl Drawn {
    const fn percent(file: &'static str, title: &'static str, metrics: &'static [&'static str]) -> Drawn {
        Drawn { file, title, y: "% of a core", log_y: false, metrics }
    }

    const fn memory(file: &'static str, title: &'static str, metrics: &'static [&'static str]) -> Drawn {
        Drawn { file, title, y: "MiB", log_y: false, metrics }
    }

    const fn delay(file: &'static str, title: &'static str, metrics: &'static [&'static str]) -> Drawn {
        Drawn { file, title, y: "microseconds (log)", log_y: true, metrics }
    }
}

impl Growth {
    fn steps(&self, rig: &Rig) -> &'static [usize] {
        if rig.quick { self.quick } else { self.steps }
    }

    fn sheet(&self, rig: &Rig) -> Result<Sheet> {
        let mut sheet = Sheet::default();
        for round in 0..rig.rounds {
            for &step in self.steps(rig) {
                rig.progress(format_args!("growth {round} with {}: {step}", self.title));
                let figures = (self.measure)(rig, step).with_context(|| format!("{} {}", step, self.title))?;
                for (metric, value) in figures {
                    sheet.put(round, &step.to_string(), metric, value);
                }
            }
        }
        Ok(sheet)
    }

    fn draw(&self, rig: &Rig, sheet: &Sheet) -> Result<()> {
        for drawn in self.plots {
            let point = |step: &usize, metric| Some((*step as f64, sheet.get(&step.to_string(), metric)?.median));
            let line = |&metric: &&'static str| Line {
                name: metric.to_owned(),
                points: self.steps(rig).iter().filter_map(|step| point(step, metric)).collect(),
            };
            let lines = drawn.metrics.iter().map(line).collect();
            let log = if self.log_x { " (log)" } else { "" };
            let x = format!("{}{log}", self.title);
            let plot = Plot { title: drawn.title, x: &x, y: drawn.y, log_x: self.log_x, log_y: drawn.log_y, lines };
            std::fs::write(rig.out.join(format!("{}.svg", drawn.file)), plot.svg())?;
        }
        Ok(())
    }
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let mut sheets = Vec::new();
    for growth in &GROWTHS {
        let sheet = growth.sheet(rig)?;
        growth.draw(rig, &sheet)?;
        sheets.push((format!("with {}", growth.title), sheet));
    }
    let about = "micring serve alone; of recordings, analyze and extract. Packet rates beyond 16 times have smaller packets (the sample \
                 rate's limit), so that CPU a packet falls there for two reasons. Plots: growth-*.svg beside the JSON."
        .into();
    Ok(Outcome { name: "growth", about, sheets, claims: Vec::new() })
}
