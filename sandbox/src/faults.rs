//! Trouble on demand: which request is to fail, to be held, to be dropped or to be cut.
//!
//! A fault is armed by the control interface with a number of times and, if wished, a part of the
//! path it applies to (the path and query as sent, or percent-decoded). Matching a request uses
//! one of its times up. The newest fault that matches wins.

use crate::reply::Reply;
use serde::Serialize;

/// Answer instead of performing the request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fail {
    pub(crate) left: u64,
    pub(crate) path: Option<String>,
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// Sent as it is instead of an error array.
    pub(crate) body: Option<String>,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    /// Parts of composite calls are met as well.
    pub(crate) parts: bool,
}

impl Fail {
    /// What is answered.
    pub(crate) fn reply(&self) -> Reply {
        let reply = match &self.body {
            Some(body) => Reply::bytes(self.status, &self.content_type, body.as_bytes()),
            None => Reply::error(self.status, &self.code, &self.message),
        };
        match &self.retry_after {
            Some(after) => reply.with("retry-after", after.clone()),
            None => reply,
        }
    }
}

/// What happens to a request around its being performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// Perform it, then close the connection without an answer.
    Drop,
    /// Perform it, then keep the answer back until `release`.
    Hold,
    /// Keep the request back, unperformed, until `release`.
    HoldBefore,
    /// Close the connection without performing it.
    DropBefore,
}

/// Perform, then drop or hold (or the other way round).
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Act {
    pub(crate) left: u64,
    pub(crate) path: Option<String>,
    pub(crate) action: Action,
}

/// End the answer in its middle.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cut {
    pub(crate) left: u64,
    pub(crate) path: Option<String>,
    pub(crate) after_bytes: usize,
    /// The connection stays open and brings nothing more, instead of being closed.
    pub(crate) stall: bool,
}

/// Send the answer no faster.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Throttle {
    pub(crate) left: u64,
    pub(crate) path: Option<String>,
    /// Bytes of a piece.
    pub(crate) bytes: u64,
    /// From one piece to the next, in milliseconds.
    pub(crate) every_ms: u64,
}

/// What the token endpoint answers instead of its own opinion.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TokenError {
    pub(crate) left: u64,
    pub(crate) status: u16,
    pub(crate) error: String,
    pub(crate) description: String,
}

/// How a part of a composite call is refused.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PartRefusal {
    /// Not at all.
    #[default]
    Allow,
    /// The part fails with 400, its neighbours answer.
    Part,
    /// The whole call fails with 400.
    Whole,
}

/// Everything that is armed.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Faults {
    pub(crate) fail: Vec<Fail>,
    pub(crate) act: Vec<Act>,
    pub(crate) cut: Vec<Cut>,
    pub(crate) throttle: Vec<Throttle>,
    pub(crate) token_error: Vec<TokenError>,
    /// Added to every answer, in milliseconds.
    pub(crate) slow_ms: u64,
    /// What getDeleted does as a part of a composite call.
    pub(crate) composite_deleted: PartRefusal,
    /// Whether every address answers with the maintenance page.
    pub(crate) maintenance: bool,
}

trait Armed {
    fn left(&mut self) -> &mut u64;
    fn path(&self) -> Option<&str>;
}

macro_rules! armed {
    ($($kind:ty),*) => {$(
        impl Armed for $kind {
            fn left(&mut self) -> &mut u64 { &mut self.left }
            fn path(&self) -> Option<&str> { self.path.as_deref() }
        }
    )*};
}
armed!(Fail, Act, Cut, Throttle);

impl Armed for TokenError {
    fn left(&mut self) -> &mut u64 {
        &mut self.left
    }
    fn path(&self) -> Option<&str> {
        None
    }
}

fn take<T: Armed + Clone>(armed: &mut Vec<T>, target: &str, decoded: &str) -> Option<T> {
    take_if(armed, target, decoded, |_| true)
}

fn take_if<T: Armed + Clone>(
    armed: &mut Vec<T>,
    target: &str,
    decoded: &str,
    meant: impl Fn(&T) -> bool,
) -> Option<T> {
    let at = armed.iter().rposition(|fault| {
        let path = fault.path();
        meant(fault) && path.is_none_or(|part| target.contains(part) || decoded.contains(part))
    })?;
    let fault = armed[at].clone();
    let left = armed[at].left();
    *left = left.saturating_sub(1);
    if *left == 0 {
        armed.remove(at);
    }
    Some(fault)
}

impl Faults {
    /// The failure armed for this request, used up once.
    pub(crate) fn take_fail(&mut self, target: &str, decoded: &str) -> Option<Fail> {
        take(&mut self.fail, target, decoded)
    }

    /// The failure armed for this part of a composite call, used up once.
    pub(crate) fn take_fail_of_part(&mut self, target: &str, decoded: &str) -> Option<Fail> {
        take_if(&mut self.fail, target, decoded, |fail| fail.parts)
    }

    /// The drop or hold armed for this request, used up once.
    pub(crate) fn take_act(&mut self, target: &str, decoded: &str) -> Option<Act> {
        take(&mut self.act, target, decoded)
    }

    /// The cut armed for this request, used up once.
    pub(crate) fn take_cut(&mut self, target: &str, decoded: &str) -> Option<Cut> {
        take(&mut self.cut, target, decoded)
    }

    /// The throttle armed for this request, used up once.
    pub(crate) fn take_throttle(&mut self, target: &str, decoded: &str) -> Option<Throttle> {
        take(&mut self.throttle, target, decoded)
    }

    /// The next token error, used up once.
    pub(crate) fn take_token_error(&mut self) -> Option<TokenError> {
        take(&mut self.token_error, "", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_path_and_is_used_up() {
        let mut faults = Faults::default();
        let cut = |path: Option<&str>, left| Cut {
            left,
            path: path.map(str::to_owned),
            after_bytes: 1,
            stall: false,
        };
        faults.cut.push(cut(Some("FROM Account"), 2));
        assert!(faults.take_cut("/limits", "/limits").is_none());
        for _ in 0..2 {
            assert!(faults.take_cut("/query?q=FROM+Account", "/query?q=FROM Account").is_some());
        }
        assert!(faults.take_cut("", "FROM Account").is_none());
        assert!(faults.cut.is_empty());
    }
}
