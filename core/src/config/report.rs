//! What the admin reads: findings, gathered, in file order, each with its source line.
//!
//! Hides annotate-snippets. Invariants: a finding carries its excerpt, so it can be stored, sent
//! over the control socket and rendered elsewhere; excerpts are cut from masked text and never
//! hold a secret; the number of findings is bounded, and what was left out is counted.

use super::Source;
use super::excerpt::{Excerpt, Masked};
use super::raw::Place;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Findings kept; a file of a million mistakes needs no million lines.
const MAX_FINDINGS: usize = 200;

/// Whether a finding stops the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing starts or changes.
    Error,
    /// Allowed, but probably not meant.
    Warning,
}

/// One mistake, or one oddity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// Path of the file, `environment`, or empty when it is about the whole.
    pub file: String,
    /// From 1.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// Byte offsets in the file.
    pub span: Option<(usize, usize)>,
    /// What is wrong, lower case, without full stop.
    pub message: String,
    /// What may stand there.
    pub allowed: Option<String>,
    /// What to type.
    pub hint: Option<String>,
    /// The source line, masked.
    pub excerpt: Option<Excerpt>,
}

/// A problem before its place has been looked up.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub severity: Severity,
    pub layer: usize,
    pub span: Option<std::ops::Range<usize>>,
    pub message: String,
    pub allowed: Option<String>,
    pub hint: Option<String>,
}

impl Problem {
    /// An error at a span of a layer.
    pub fn at(layer: usize, span: std::ops::Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            layer,
            span: Some(span),
            message: message.into(),
            allowed: None,
            hint: None,
        }
    }

    /// An error marked under the value.
    pub fn value(place: &Place, message: impl Into<String>) -> Self {
        Self::at(place.layer, place.value.clone(), message)
    }

    /// An error marked under the key.
    pub fn key(place: &Place, message: impl Into<String>) -> Self {
        Self::at(place.layer, place.key.clone(), message)
    }

    /// An error about the whole configuration.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { span: None, ..Self::at(usize::MAX, 0..0, message) }
    }

    pub fn allowed(mut self, text: impl Into<String>) -> Self {
        self.allowed = Some(text.into());
        self
    }

    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

/// Every finding of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In order of files and lines.
    pub findings: Vec<Finding>,
    /// Findings beyond the bound, not kept.
    pub left_out: usize,
}

impl Report {
    pub(super) fn add(&mut self, texts: &[Masked], problem: Problem) {
        let Problem { severity, layer, span, message, allowed, hint } = problem;
        if self.findings.len() >= MAX_FINDINGS {
            // An error is never left out while a warning is kept: it decides the outcome.
            let warning = self.findings.iter().position(|f| f.severity == Severity::Warning);
            self.left_out += 1;
            match warning {
                Some(at) if severity == Severity::Error => drop(self.findings.remove(at)),
                _ => return,
            }
        }
        let text = texts.get(layer);
        let span = span.map(|s| (s.start, s.end));
        let place = text.zip(span).map(|(t, (from, to))| t.excerpt(from..to));
        let numbered = text.is_some_and(|t| t.numbered);
        let finding = Finding {
            severity,
            file: text.map(|t| t.path.clone()).unwrap_or_default(),
            line: place.as_ref().filter(|_| numbered).map(|p| p.line),
            column: place.as_ref().filter(|_| numbered).map(|p| p.column),
            span,
            message,
            allowed,
            hint,
            excerpt: place,
        };
        let same = |f: &Finding| {
            f.file == finding.file && f.span == finding.span && f.message == finding.message
        };
        if !self.findings.iter().any(same) {
            self.findings.push(finding);
        }
    }

    /// Whether further errors are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.findings.len() >= MAX_FINDINGS
            && self.findings.iter().all(|f| f.severity == Severity::Error)
    }

    /// Brings the findings into the order of files and lines; those about the whole come last.
    pub(super) fn finish(&mut self, sources: &[Source]) {
        let rank = |f: &Finding| {
            let file = sources.iter().position(|s| s.path == f.file);
            (file.unwrap_or(sources.len() + usize::from(f.file.is_empty())), f.span)
        };
        self.findings.sort_by_key(rank);
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// For people: each finding with its source line and a marker, then the count.
    /// Plain text unless `color`.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            out.push_str(&finding.render(color));
            out.push_str("\n\n");
        }
        if self.left_out > 0 {
            let _ = writeln!(out, "… and {} more\n", self.left_out);
        }
        let count = |s| self.findings.iter().filter(|f| f.severity == s).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut parts = Vec::new();
        if errors > 0 {
            parts.push(plural(errors + self.left_out, "error"));
        }
        if warnings > 0 {
            parts.push(plural(warnings, "warning"));
        }
        if !parts.is_empty() {
            let _ = writeln!(out, "{} in the configuration", parts.join(", "));
        }
        out
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "findings": self.findings, "left_out": self.left_out })
    }
}

impl Finding {
    /// One finding, without a line break at its end.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str());
        let mut group = match &self.excerpt {
            Some(excerpt) if excerpt.is_whole() && self.line.is_some() => title.element(
                Snippet::source(excerpt.text.as_str())
                    .path(self.file.as_str())
                    .line_start(excerpt.line)
                    .annotation(AnnotationKind::Primary.span(excerpt.mark.0..excerpt.mark.1)),
            ),
            Some(excerpt) => {
                let mut origin = Origin::path(self.file.as_str());
                if let (Some(line), Some(column)) = (self.line, self.column) {
                    origin = origin.line(line).char_column(column);
                }
                let snippet = Snippet::source(excerpt.text.as_str())
                    .line_numbering(self.line.is_some())
                    .line_start(excerpt.line)
                    .annotation(AnnotationKind::Primary.span(excerpt.mark.0..excerpt.mark.1));
                title.element(origin).element(snippet)
            }
            None if self.file.is_empty() => Group::with_title(title),
            None => title.element(Origin::path(self.file.as_str())),
        };
        if let Some(allowed) = &self.allowed {
            group = group.element(Level::NOTE.with_name("allowed").message(allowed.as_str()));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let text = renderer.render(&[group]);
        // The renderer pads empty gutter lines, and sets `:::` between an origin and lines that
        // do not tell their own; nobody wants either in a journal.
        let lines = text.lines().map(str::trim_end).filter(|line| line.trim() != ":::");
        lines.collect::<Vec<_>>().join("\n")
    }
}
