//! What was found: lines for people with the ratio first, and the same as JSON.

use crate::machine;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What is wanted of a figure.
#[derive(Clone, Copy)]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Nothing: it is told beside the others.
    Told,
}

struct Line {
    what: String,
    goal: Goal,
    value: f64,
    unit: &'static str,
    beside: Map<String, Value>,
}

/// Everything that was measured, in order.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
    commands: Vec<(&'static str, String)>,
}

impl Report {
    /// A figure and what belongs beside it (an object).
    pub fn add(&mut self, what: &str, goal: Goal, value: f64, unit: &'static str, beside: Value) {
        let beside = if let Value::Object(map) = beside { map } else { Map::new() };
        let line = Line { what: what.to_owned(), goal, value, unit, beside };
        eprintln!("{}", line.text());
        self.lines.push(line);
    }

    /// Commands of a floor, printed once.
    pub fn commands(&mut self, name: &'static str, text: String) {
        if !self.commands.iter().any(|(known, _)| *known == name) {
            self.commands.push((name, text));
        }
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "{}", line.text());
        }
        for (name, commands) in &self.commands {
            let _ = writeln!(text, "\nThe floor, {name}:\n{}", commands.trim_end());
        }
        text
    }

    /// Everything, with the machine.
    pub fn json(&self, machine: &Value) -> Value {
        let floors: Map<String, Value> =
            self.commands.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
        let figures: Vec<Value> = self.lines.iter().map(Line::json).collect();
        json!({ "machine": machine, "figures": figures, "floors": floors })
    }
}

impl Line {
    fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::AtMost(most) => Some(self.value <= most),
            Goal::AtLeast(least) => Some(self.value >= least),
            Goal::Told => None,
        }
    }

    fn text(&self) -> String {
        let verdict = match (self.goal, self.met()) {
            (Goal::AtMost(g), Some(true)) => format!("met (at most {g})"),
            (Goal::AtLeast(g), Some(true)) => format!("met (at least {g})"),
            (Goal::AtMost(g), _) => format!("MISSED (at most {g})"),
            (Goal::AtLeast(g), _) => format!("MISSED (at least {g})"),
            (Goal::Told, _) => "told".to_owned(),
        };
        let beside: Vec<String> = self
            .beside
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name} {text}"),
                other => format!("{name} {other}"),
            })
            .collect();
        let value = format!("{:.3} {}", self.value, self.unit);
        format!("{:<58} {value:>16}  {verdict:<22} {}", self.what, beside.join(", "))
    }

    fn json(&self) -> Value {
        let goal = match self.goal {
            Goal::AtMost(most) => json!({ "at_most": most }),
            Goal::AtLeast(least) => json!({ "at_least": least }),
            Goal::Told => Value::Null,
        };
        json!({
            "figure": self.what, "value": self.value, "unit": self.unit,
            "goal": goal, "met": self.met(), "beside": self.beside,
        })
    }
}

/// The middle of what was measured.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that this share of them does not exceed; of an even number the lower middle.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    assert!(!sorted.is_empty(), "nothing was measured");
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count lies within it"
    )]
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[at - 1]
}

/// Three digits behind the point are enough beside a figure.
pub fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Rounded values.
pub fn rounds(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| round(*v)).collect()
}

/// Writes both forms: the table on stdout, JSON into the target folder.
pub fn publish(report: &Report) {
    let machine = machine::facts();
    println!("{}", report.table());
    let path = crate::support::workspace().join("target/figures.json");
    let json = report.json(&machine);
    std::fs::write(&path, format!("{json:#}\n")).expect("writing the figures");
    println!("on {machine}\nas JSON: target/figures.json");
}
