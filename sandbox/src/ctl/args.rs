//! The arguments of a control verb: taken one by one, and nothing may be left over.

use std::collections::VecDeque;

/// Positional and named arguments.
#[derive(Debug)]
pub(super) struct Args {
    positional: VecDeque<String>,
    named: Vec<(String, String)>,
}

impl Args {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Args {
        let (positional, named): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| name == "arg");
        Args { positional: positional.into_iter().map(|(_, value)| value).collect(), named }
    }

    /// The next positional argument; `what` is its name in the error.
    pub(super) fn next(&mut self, what: &str) -> Result<String, String> {
        self.positional.pop_front().ok_or_else(|| format!("argument {what} is missing"))
    }

    /// The next positional argument, if there is one.
    pub(super) fn maybe(&mut self) -> Option<String> {
        self.positional.pop_front()
    }

    /// A named argument.
    pub(super) fn named(&mut self, name: &str) -> Option<String> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(at).1)
    }

    /// A named argument, else the next positional one.
    pub(super) fn named_or_next(&mut self, name: &str) -> Result<String, String> {
        match self.named(name) {
            Some(value) => Ok(value),
            None => self.next(name),
        }
    }

    /// A named whole number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        self.named(name).map(|text| number(name, &text)).transpose()
    }

    /// A named number with a fraction.
    pub(super) fn decimal(&mut self, name: &str) -> Result<Option<f64>, String> {
        self.named(name)
            .map(|text| {
                text.parse::<f64>()
                    .ok()
                    .filter(|n| n.is_finite() && *n >= 0.0)
                    .ok_or_else(|| format!("{name}={text} is no number"))
            })
            .transpose()
    }

    /// The next positional argument as a whole number.
    pub(super) fn next_number(&mut self, what: &str) -> Result<u64, String> {
        let text = self.next(what)?;
        number(what, &text)
    }

    /// The next positional argument: `on` or `off`.
    pub(super) fn switch(&mut self) -> Result<bool, String> {
        match self.next("on|off")?.as_str() {
            "on" | "true" | "1" => Ok(true),
            "off" | "false" | "0" => Ok(false),
            other => Err(format!("expected on or off, not '{other}'")),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn nothing_left(&self) -> Result<(), String> {
        match (self.positional.front(), self.named.first()) {
            (Some(extra), _) => Err(format!("nobody knows what to do with '{extra}'")),
            (None, Some((name, _))) => Err(format!("unknown argument {name}=")),
            (None, None) => Ok(()),
        }
    }
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name}: '{text}' is no whole number"))
}
