use crate::domain::{Identity, Reason};
use serde::{Deserialize, Serialize};

/// Whose grant it is, measured by the pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Org and account as pinned.
    Same,
    /// Nothing was pinned: this is pinned now.
    FirstTime,
    /// Same org, another account, and somebody said beforehand that this is wanted.
    ChangedAsAsked {
        /// Log-in name pinned so far.
        expected: String,
        /// Log-in name found.
        found: String,
    },
    /// Same org, another account: waits for confirmation.
    OtherAccount {
        /// Log-in name pinned so far.
        expected: String,
        /// Log-in name found.
        found: String,
    },
    /// Another org: refused, whatever was asked.
    OtherOrg {
        /// Org id pinned.
        expected: String,
        /// Org id found.
        found: String,
        /// The facts look like a sandbox that was refreshed: same log-in name or same sandbox
        /// host, new id.
        refreshed_sandbox: bool,
    },
}

impl Verdict {
    /// Whether the grant may be sealed at once.
    pub fn accepted(&self) -> bool {
        matches!(self, Self::Same | Self::FirstTime | Self::ChangedAsAsked { .. })
    }

    /// The reason that stands while it is not accepted.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Same | Self::FirstTime | Self::ChangedAsAsked { .. } => None,
            Self::OtherAccount { expected, found } => {
                Some(Reason::WrongAccount { expected: expected.clone(), found: found.clone() })
            }
            Self::OtherOrg { expected, found, refreshed_sandbox } => Some(Reason::WrongOrg {
                expected: expected.clone(),
                found: found.clone(),
                refreshed_sandbox: *refreshed_sandbox,
            }),
        }
    }
}

/// Judges a new grant. `pinned_org`: the `org_id` key, which holds even before anything is
/// pinned by a grant. Ids are compared by their significant part: a record id of 18 characters
/// whose last three are only a check on letter case equals its form of 15.
pub fn judge(
    pinned: Option<&Identity>,
    pinned_org: Option<&str>,
    found: &Identity,
    as_other_account: bool,
) -> Verdict {
    let expected_org = pinned_org.or(pinned.map(|p| p.org_id.as_str()));
    if let Some(expected) = expected_org
        && !same_id(expected, &found.org_id)
    {
        return Verdict::OtherOrg {
            expected: expected.to_owned(),
            found: found.org_id.clone(),
            refreshed_sandbox: pinned.is_some_and(|p| looks_refreshed(p, found)),
        };
    }
    let Some(pinned) = pinned else { return Verdict::FirstTime };
    if !same_id(&pinned.org_id, &found.org_id) {
        // The configuration was pointed at a new org by hand: that is the pin from now on.
        return Verdict::FirstTime;
    }
    if same_id(&pinned.user_id, &found.user_id) {
        return Verdict::Same;
    }
    let (expected, found) = (pinned.username.clone(), found.username.clone());
    if as_other_account {
        Verdict::ChangedAsAsked { expected, found }
    } else {
        Verdict::OtherAccount { expected, found }
    }
}

/// Ids of 15 characters are the first 15 of their form with 18; letter case counts.
fn same_id(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short == long || (short.len() == 15 && long.len() == 18 && long.starts_with(short))
}

/// A refresh gives the sandbox a new org id; log-in name (with its sandbox suffix) or the
/// sandbox's own host stay. Hosts differ in instance numbers, so digits are not compared.
fn looks_refreshed(pinned: &Identity, found: &Identity) -> bool {
    let host = |address: &str| {
        url::Url::parse(address).ok().and_then(|u| {
            u.host_str().map(|h| h.chars().filter(|c| !c.is_ascii_digit()).collect::<String>())
        })
    };
    let sandbox = |h: &str| h.contains(".sandbox.") || h.contains("--");
    let same_name = pinned.username.eq_ignore_ascii_case(&found.username);
    let same_host = match (host(&pinned.address), host(&found.address)) {
        (Some(a), Some(b)) => a == b && sandbox(&a),
        _ => false,
    };
    same_name || same_host
}
