//! Figures over rounds: what was measured, by row and metric, and ratios of one round's rows, with their spread.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Nearest-rank percentile of a sorted slice.
pub fn percentile(sorted: &[f64], p: f64) -> f64 {
    let rank = (p / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// Median, lowest and highest of the rounds that have a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        known.sort_by(f64::total_cmp);
        let (min, max) = (*known.first()?, *known.last()?);
        let middle = known.len() / 2;
        let median = if known.len() % 2 == 1 { known[middle] } else { (known[middle - 1] + known[middle]) / 2.0 };
        Some(Spread { median, min, max })
    }

    pub fn json(self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

/// Percentiles of delays in microseconds, as every receiver reports them.
pub fn distribution(mut values: Vec<f64>) -> Value {
    if values.is_empty() {
        return Value::Null;
    }
    values.sort_by(f64::total_cmp);
    let at = |p| percentile(&values, p);
    json!({"p50": at(50.0), "p99": at(99.0), "p999": at(99.9), "max": at(100.0), "count": values.len()})
}

/// What a comparison measured: one value a row, metric and round.
#[derive(Default, Debug)]
pub struct Sheet {
    rows: Vec<String>,
    metrics: Vec<String>,
    values: BTreeMap<(String, String), BTreeMap<usize, f64>>,
}

impl Sheet {
    pub fn put(&mut self, round: usize, row: &str, metric: &str, value: f64) {
        if !self.rows.iter().any(|known| known == row) {
            self.rows.push(row.to_owned());
        }
        if !self.metrics.iter().any(|known| known == metric) {
            self.metrics.push(metric.to_owned());
        }
        self.values.entry((row.to_owned(), metric.to_owned())).or_default().insert(round, value);
    }

    /// Each percentile of a distribution as a metric.
    pub fn put_distribution(&mut self, round: usize, row: &str, metric: &str, value: &Value) {
        for name in ["p50", "p99", "p999", "max"] {
            if let Some(figure) = value[name].as_f64() {
                self.put(round, row, &format!("{metric} {name}"), figure);
            }
        }
    }

    fn rounds(&self, row: &str, metric: &str) -> BTreeMap<usize, f64> {
        self.values.get(&(row.to_owned(), metric.to_owned())).cloned().unwrap_or_default()
    }

    pub fn get(&self, row: &str, metric: &str) -> Option<Spread> {
        Spread::of(&self.rounds(row, metric).into_values().collect::<Vec<_>>())
    }

    /// `a / b`, round by round.
    pub fn ratio(&self, a: (&str, &str), b: (&str, &str)) -> Option<Spread> {
        let (a, b) = (self.rounds(a.0, a.1), self.rounds(b.0, b.1));
        let ratios: Vec<f64> = a.iter().filter_map(|(round, x)| b.get(round).map(|y| x / y)).collect();
        Spread::of(&ratios)
    }

    /// `a - b`, round by round.
    pub fn difference(&self, a: (&str, &str), b: (&str, &str)) -> Option<Spread> {
        let (a, b) = (self.rounds(a.0, a.1), self.rounds(b.0, b.1));
        let differences: Vec<f64> = a.iter().filter_map(|(round, x)| b.get(round).map(|y| x - y)).collect();
        Spread::of(&differences)
    }

    /// Medians with their spread, one line a row.
    pub fn table(&self) -> String {
        let mut text = format!("| |{}|\n|---|{}\n", self.metrics.join(" | "), "---|".repeat(self.metrics.len()));
        for row in &self.rows {
            let cells: Vec<String> = self.metrics.iter().map(|metric| cell(self.get(row, metric))).collect();
            text += &format!("| {row} | {} |\n", cells.join(" | "));
        }
        text
    }

    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let metrics = self.metrics.iter().filter_map(|metric| {
                let rounds: Vec<f64> = self.rounds(row, metric).into_values().collect();
                let mut figure = Spread::of(&rounds)?.json();
                figure["rounds"] = json!(rounds);
                Some((metric.clone(), figure))
            });
            (row.clone(), Value::Object(metrics.collect()))
        });
        Value::Object(rows.collect())
    }
}

fn cell(spread: Option<Spread>) -> String {
    match spread {
        None => "".into(),
        Some(s) if s.min == s.max => short(s.median),
        Some(s) => format!("{} ({} to {})", short(s.median), short(s.min), short(s.max)),
    }
}

/// Three significant digits, thousands as they are.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What issue 6 asks for, beside what was measured.
#[derive(Clone, Debug)]
pub struct Claim {
    pub what: String,
    pub measured: Option<Spread>,
    /// The bound, and whether the figure must lie above it.
    pub bound: f64,
    pub at_least: bool,
}

impl Claim {
    pub fn at_least(what: &str, measured: Option<Spread>, bound: f64) -> Claim {
        Claim { what: what.into(), measured, bound, at_least: true }
    }

    pub fn at_most(what: &str, measured: Option<Spread>, bound: f64) -> Claim {
        Claim { what: what.into(), measured, bound, at_least: false }
    }

    /// By the median of the rounds.
    pub fn holds(&self) -> Option<bool> {
        let median = self.measured?.median;
        Some(if self.at_least { median >= self.bound } else { median <= self.bound })
    }

    pub fn line(&self) -> String {
        let verdict = match self.holds() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "not measured",
        };
        let sign = if self.at_least { ">=" } else { "<=" };
        format!("| {} | {} | {sign} {} | {verdict} |\n", self.what, cell(self.measured), short(self.bound))
    }

    pub fn json(&self) -> Value {
        json!({"what": self.what, "measured": self.measured.map(Spread::json), "bound": self.bound,
               "at_least": self.at_least, "holds": self.holds()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([50.0, 99.0, 99.9, 100.0].map(|p| percentile(&values, p)), [50.0, 99.0, 100.0, 100.0]);
        assert!(percentile(&[], 50.0).is_nan());
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut sheet = Sheet::default();
        for (round, (a, b)) in [(10.0, 5.0), (30.0, 10.0), (2.0, 2.0)].into_iter().enumerate() {
            sheet.put(round, "a", "x", a);
            sheet.put(round, "b", "x", b);
        }
        sheet.put(3, "a", "x", 7.0);
        let ratio = sheet.ratio(("a", "x"), ("b", "x"));
        assert_eq!(ratio, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Claim::at_least("", ratio, 2.0).holds(), Some(true));
        assert_eq!(Claim::at_most("", ratio, 1.9).holds(), Some(false));
        assert_eq!(Claim::at_most("", sheet.ratio(("a", "x"), ("c", "x")), 1.9).holds(), None);
    }
}
