//! The comparisons of the bench, one file each: what is measured, on whom, and what issue 6 asks of it.

pub mod arrays;
pub mod delay;
pub mod end_to_end;
pub mod fanout;
pub mod footprint;
pub mod growth;
pub mod ingest;
pub mod isolation;
pub mod limits;
pub mod micro;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::stats::{Claim, Sheet};

/// One comparison's outcome.
pub struct Outcome {
    pub name: &'static str,
    pub about: String,
    pub sheets: Vec<(String, Sheet)>,
    pub claims: Vec<Claim>,
}

impl Outcome {
    pub fn text(&self) -> String {
        let mut text = format!("\n## {}\n\n{}\n", self.name, self.about);
        for (title, sheet) in &self.sheets {
            let _ = write!(text, "\n{title}\n\n{}", sheet.table());
        }
        if !self.claims.is_empty() {
            text += "\n| Asked for | measured: median (rounds) | bound | holds |\n|---|---|---|---|\n";
            self.claims.iter().for_each(|claim| text += &claim.line());
        }
        text
    }

    pub fn json(&self) -> Value {
        let sheets: serde_json::Map<String, Value> =
            self.sheets.iter().map(|(title, sheet)| (title.clone(), sheet.json())).collect();
        json!({"about": self.about, "figures": sheets, "claims": self.claims.iter().map(Claim::json).collect::<Vec<_>>()})
    }
}
