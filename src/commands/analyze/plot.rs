//! Plots as SVG: two axes, and lines, bands and bars on them.
//!
//! The page has to open anywhere, years later, from a mail attachment: no script, no font, nothing from elsewhere. Colours are
//! classes of the page's style sheet, so that they follow the reader's light or dark theme.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

/// A scale from values to places.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub label: &'static str,
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    /// From `from` to `to`, or a little wider where that is nothing.
    pub fn linear(label: &'static str, from: f64, to: f64) -> Axis {
        let (from, to) = if to > from { (from, to) } else { (from - 1.0, from + 1.0) };
        Axis { label, from, to, log: false }
    }

    /// Whole decades around what is positive in `from` and `to`.
    pub fn log(label: &'static str, from: f64, to: f64) -> Axis {
        let low = if from > 0.0 { from.log10().floor() } else { 0.0 };
        let high = if to > 0.0 { to.log10().ceil() } else { low + 1.0 };
        Axis { label, from: low, to: high.max(low + 1.0), log: true }
    }

    /// 0 at the beginning, 1 at the end; values beyond are held at the edge.
    fn place(&self, value: f64) -> f64 {
        let value = if self.log { value.max(1e-300).log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// Values to mark, with their text.
    fn ticks(&self) -> Vec<(f64, String)> {
        if self.log {
            let step = ((self.to - self.from) / 8.0).ceil().max(1.0) as usize;
            return (self.from as i32..=self.to as i32)
                .step_by(step)
                .map(|exponent| (10f64.powi(exponent), power_of_ten(exponent)))
                .collect();
        }
        // 1, 2 or 5 times a power of ten, so that there are about six.
        let rough = (self.to - self.from) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough).unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step).floor() as i64;
        (first..=last).map(|i| (i as f64 * step, format!("{:.decimals$}", i as f64 * step))).collect()
    }
}

fn power_of_ten(exponent: i32) -> String {
    match exponent {
        0..=4 => format!("{}", 10i64.pow(exponent as u32)),
        -3..=-1 => format!("{}", 10f64.powi(exponent)),
        _ => format!("1e{exponent}"),
    }
}

/// A plot in the making.
pub struct Plot {
    x: Axis,
    y: Axis,
    body: String,
}

impl Plot {
    pub fn new(x: Axis, y: Axis) -> Plot {
        Plot { x, y, body: String::new() }
    }

    /// A line; it breaks where a value is missing.
    pub fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, Option<f64>)>) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            let Some(y) = y.filter(|y| y.is_finite()) else {
                pen_down = false;
                continue;
            };
            let (x, y) = self.at(x, y);
            let command = if pen_down { 'L' } else { 'M' };
            write!(path, "{command}{x:.1} {y:.1}").expect("a String takes everything");
            // A single point shows as a dot: its line has round ends.
            if !pen_down {
                write!(path, "h0").expect("a String takes everything");
            }
            pen_down = true;
        }
        self.push(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }

    /// A band from the lower to the upper value of each stretch of x.
    pub fn band(&mut self, class: &str, bars: impl IntoIterator<Item = (f64, f64, f64, f64)>) {
        let mut path = String::new();
        for (from, to, low, high) in bars {
            if !(low.is_finite() && high.is_finite()) {
                continue;
            }
            let ((left, top), (right, bottom)) = (self.at(from, high), self.at(to, low));
            // At least a hair, so that it is seen.
            let (width, height) = ((right - left).max(0.5), (bottom - top).max(0.8));
            write!(path, "M{left:.1} {top:.1}h{width:.1}v{height:.1}h-{width:.1}z").expect("a String takes everything");
        }
        self.push(format_args!("<path class=\"band {class}\" d=\"{path}\"/>"));
    }

    /// The plot; `name` is what a screen reader says.
    pub fn svg(self, name: &str) -> String {
        let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escaped(name));
        let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
        for (value, text) in self.x.ticks() {
            let (x, _) = self.at(value, 0.0);
            let below = bottom + 16.0;
            out += &format!(
                "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/><text x=\"{x:.1}\" y=\"{below}\" class=\"x\">{text}</text>"
            );
        }
        for (value, text) in self.y.ticks() {
            let y = self.at(0.0, value).1;
            let (beside, down) = (left - 6.0, y + 4.0);
            out += &format!(
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/><text x=\"{beside}\" y=\"{down:.1}\" class=\"y\">{text}</text>"
            );
        }
        out += &self.body;
        let (middle, end) = ((left + right) / 2.0, HEIGHT - 6.0);
        let (x, y) = (escaped(self.x.label), escaped(self.y.label));
        out += &format!("<text x=\"{middle}\" y=\"{end}\" class=\"x\">{x}</text>");
        let up = (top + bottom) / 2.0;
        out += &format!("<text transform=\"translate(12 {up}) rotate(-90)\" class=\"x\">{y}</text></svg>");
        out
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let across = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT);
        let down = HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM);
        (across, down)
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        self.body.write_fmt(element).expect("a String takes everything");
    }
}

/// Text inside HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let texts = |axis: Axis| axis.ticks().into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(Axis::linear("", 0.0, 60.0)), ["0", "10", "20", "30", "40", "50", "60"]);
        assert_eq!(texts(Axis::linear("", -0.11, 0.12)), ["-0.10", "-0.05", "0.00", "0.05", "0.10"]);
        assert_eq!(texts(Axis::log("", 0.02, 700.0)), ["0.01", "0.1", "1", "10", "100", "1000"]);
        assert!(texts(Axis::log("", 1e-18, 1e12)).len() <= 10);
    }

    #[test]
    fn values_lie_between_the_axes_whatever_they_are() {
        let mut plot = Plot::new(Axis::linear("", 0.0, 1.0), Axis::log("", 1.0, 100.0));
        assert_eq!(plot.at(0.0, 1.0), (LEFT, HEIGHT - BOTTOM));
        assert_eq!(plot.at(1.0, 100.0), (WIDTH - RIGHT, TOP));
        assert_eq!(plot.at(2.0, 10.0), (WIDTH - RIGHT, (TOP + HEIGHT - BOTTOM) / 2.0));
        assert_eq!(plot.at(0.0, 0.0), plot.at(0.0, 1.0), "no logarithm: at the edge");
        plot.line("", [(0.0, Some(f64::NAN)), (0.5, None), (1.0, Some(10.0))]);
        assert!(!plot.svg("").contains("NaN"));
    }

    #[test]
    fn a_line_breaks_where_a_value_is_missing() {
        let mut plot = Plot::new(Axis::linear("", 0.0, 4.0), Axis::linear("", 0.0, 1.0));
        plot.line("", [Some(0.1), Some(0.2), None, Some(0.4)].into_iter().enumerate().map(|(i, y)| (i as f64, y)));
        assert_eq!(plot.body.matches('M').count(), 2);
        assert_eq!(plot.body.matches('L').count(), 1);
    }
}
