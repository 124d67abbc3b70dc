//! The cause in plain words, and who must do what, for every reason and problem.

use super::text::{clean, moment};
use super::{Condition, Facts};
use crmsync_core::domain::{Problem, Reason};

/// Texts of one condition.
pub(super) struct Why {
    /// The words of `status`.
    pub(super) title: String,
    /// What happened.
    pub(super) cause: String,
    /// Who must act, and how, in order.
    pub(super) steps: Vec<String>,
    /// Whether syncing has stopped.
    pub(super) stopped: bool,
    /// Whose words are quoted.
    pub(super) speaker: String,
}

/// Foreign text inside sentences of ours is cut to this.
const INLINE: usize = 120;

pub(super) fn why(facts: &Facts, host: &str, what: &Condition) -> Why {
    match what {
        Condition::NeedsAuthorization(reason) => Why {
            title: clean(&reason.to_string(), INLINE),
            cause: reason_cause(facts, reason),
            steps: reason_steps(facts, host, reason),
            stopped: true,
            speaker: facts.label.clone(),
        },
        Condition::Problem(problem) => Why {
            title: problem_title(problem),
            cause: problem_cause(facts, problem),
            steps: problem_steps(facts, host, problem),
            stopped: true,
            speaker: match problem {
                Problem::ReplicaUnavailable { .. }
                | Problem::DiskFull { .. }
                | Problem::KeyMissing => {
                    format!("The system of {host}")
                }
                Problem::Misconfigured { .. }
                | Problem::AddressNotAllowed { .. }
                | Problem::OrgSuspended { .. }
                | Problem::ProviderFailing { .. }
                | Problem::NeedsAttention { .. } => facts.label.clone(),
            },
        },
        Condition::Notice { title, text, steps } => Why {
            title: clean(title, INLINE),
            cause: clean(text, 1000),
            steps: steps.iter().map(|s| clean(s, 400)).collect(),
            stopped: false,
            speaker: facts.label.clone(),
        },
    }
}

fn reason_cause(facts: &Facts, reason: &Reason) -> String {
    let label = &facts.label;
    match reason {
        Reason::NeverAuthorized => {
            format!("crmsync was never given access to {label} for this connection.")
        }
        Reason::GrantRevoked => format!(
            "{label} says that the access given to crmsync is no longer valid: it was withdrawn, \
             or replaced, at {label}."
        ),
        Reason::GrantExpired => {
            format!("{label} says that the access given to crmsync has run out.")
        }
        Reason::GrantLostWhileRotating => format!(
            "{label} replaces the key to its data at every renewal. crmsync or its machine went \
             down in the moment between {label} sending the new key and crmsync storing it; the \
             old one is no longer accepted. Nobody did anything wrong at {label}."
        ),
        Reason::CredentialsChanged => format!(
            "{label} no longer accepts the stored password: it was changed, or the account is \
             locked. crmsync has stopped trying, so that it locks nobody out."
        ),
        Reason::UserDeactivated => {
            format!("The user that crmsync works as was deactivated at {label}.")
        }
        Reason::PermissionsMissing { missing } => format!(
            "The account may log in, but lacks: {}.",
            missing.iter().map(|m| clean(m, 80)).collect::<Vec<_>>().join(", ")
        ),
        Reason::AppBlocked => format!(
            "{label} does not let the app that crmsync uses in: it is blocked, not installed, or \
             not approved for this user."
        ),
        Reason::WrongOrg { expected, found, refreshed_sandbox } => {
            let (expected, found) = (clean(expected, 60), clean(found, 60));
            let hint = if *refreshed_sandbox {
                " It looks like a sandbox that was refreshed: that makes a new organization."
            } else {
                ""
            };
            format!(
                "The access leads to another organization ({found}) than this connection is bound \
                 to ({expected}). It was refused, and nothing was read.{hint}"
            )
        }
        Reason::WrongAccount { expected, found } => format!(
            "Somebody signed in as {} instead of {}. Nothing is used until that is confirmed.",
            clean(found, 80),
            clean(expected, 80)
        ),
        Reason::DisconnectedByAdmin => {
            "An admin ended the access with crmsync disconnect on the server.".to_owned()
        }
        Reason::ClientSecretExpired => format!(
            "{label} no longer accepts the client secret of the app: it has expired or was \
             replaced."
        ),
    }
}

fn reason_steps(facts: &Facts, host: &str, reason: &Reason) -> Vec<String> {
    let (name, label) = (&facts.name, &facts.label);
    let account = facts.account.as_deref().map(|a| clean(a, 80));
    let run = format!("On {host}, as root, run `crmsync reauthorize {name}`");
    let sign_in = match &account {
        Some(account) => {
            format!("{run} It prints an address: open it and sign in at {label} as {account}.")
        }
        None => format!("{run} It says what to do at {label}."),
    };
    match reason {
        Reason::NeverAuthorized
        | Reason::GrantRevoked
        | Reason::GrantExpired
        | Reason::GrantLostWhileRotating
        | Reason::DisconnectedByAdmin => vec![sign_in],
        Reason::CredentialsChanged => vec![
            format!(
                "Make sure at {label} that the account{} is active and not locked.",
                account.map(|a| format!(" {a}")).unwrap_or_default()
            ),
            format!("{run} It asks there for the new one. Do not send it by mail."),
        ],
        Reason::UserDeactivated => vec![
            format!("An admin of {label}: activate the user again, or choose another one."),
            format!("{run} With another user: `crmsync reauthorize {name} --as-other-account`"),
        ],
        Reason::PermissionsMissing { .. } => vec![
            format!("An admin of {label}: give the account what is missing."),
            format!("Check it on {host}: `crmsync test {name}` Syncing goes on when it passes."),
        ],
        Reason::AppBlocked => {
            vec![format!("An admin of {label}: let the app in."), sign_in]
        }
        Reason::WrongOrg { refreshed_sandbox: true, .. } => vec![
            format!(
                "If the new organization is meant: put its id as org_id into the connection's file \
                 on {host} (or remove the old one), then, as root, run `crmsync reload` and `crmsync \
                 reauthorize {name}` The copy of the old organization is not mixed with it."
            ),
            "If not: sign in at the right one, in the same way.".to_owned(),
        ],
        Reason::WrongOrg { .. } => vec![
            format!("If somebody signed in at the wrong place: do it again. {sign_in}"),
            "If it was nobody you know, tell your security people: somebody tried to lead the \
             data of another organization into your copy."
                .to_owned(),
        ],
        Reason::WrongAccount { .. } => {
            let id = facts.request.as_deref().map_or_else(|| "ID".to_owned(), |id| clean(id, 60));
            let look = match &facts.request {
                Some(_) => String::new(),
                None => format!("`crmsync status {name}` shows the request's ID. "),
            };
            vec![
                format!(
                    "{look}If the new account is right, on {host}, as root: `crmsync reauthorize \
                     confirm {id}`"
                ),
                format!("If not: `crmsync reauthorize reject {id}`"),
            ]
        }
        Reason::ClientSecretExpired => vec![
            format!("An admin of {label}: make a new client secret for the app."),
            format!(
                "On {host}, as root, run `crmsync secret set {name} client_secret` and `crmsync \
                 test {name}`"
            ),
        ],
    }
}

fn problem_title(problem: &Problem) -> String {
    match problem {
        Problem::ProviderFailing { since, .. } => {
            format!("provider failing since {}", moment(*since))
        }
        Problem::Misconfigured { .. }
        | Problem::AddressNotAllowed { .. }
        | Problem::OrgSuspended { .. }
        | Problem::ReplicaUnavailable { .. }
        | Problem::DiskFull { .. }
        | Problem::KeyMissing
        | Problem::NeedsAttention { .. } => problem.to_string(),
    }
}

fn problem_cause(facts: &Facts, problem: &Problem) -> String {
    let label = &facts.label;
    match problem {
        Problem::Misconfigured { what } => {
            format!("A setting of this connection cannot work: {}.", clean(what, INLINE))
        }
        Problem::AddressNotAllowed { .. } => {
            format!("{label} refuses the network address of this server, or the hour.")
        }
        Problem::OrgSuspended { .. } => {
            format!("{label} says that the organization or account is suspended.")
        }
        Problem::ProviderFailing { since, .. } => format!(
            "{label} has not given one usable answer since {}. This looks like a fault at {label} \
             or on the way there; crmsync goes on trying.",
            moment(*since)
        ),
        Problem::ReplicaUnavailable { what } => {
            format!("The copy's database cannot be written: {}.", clean(what, INLINE))
        }
        Problem::DiskFull { what } => {
            format!("There is no room on a disk: {}.", clean(what, INLINE))
        }
        Problem::KeyMissing => {
            "The stored secrets are sealed, and the master key that opens them is missing. Nothing \
             was deleted."
                .to_owned()
        }
        Problem::NeedsAttention { .. } => format!(
            "{label} gave an answer that crmsync does not know. It was not taken for success."
        ),
    }
}

fn problem_steps(facts: &Facts, host: &str, problem: &Problem) -> Vec<String> {
    let (name, label) = (&facts.name, &facts.label);
    let by_itself = "Nothing else: syncing goes on by itself as soon as it can.".to_owned();
    match problem {
        Problem::Misconfigured { .. } => vec![
            format!(
                "Correct the connection's file on {host}. This reads it without effect: `crmsync check`"
            ),
            "Then `systemctl reload crmsyncd`".to_owned(),
        ],
        Problem::AddressNotAllowed { .. } => vec![
            format!("An admin of {label}: allow the address of {host}."),
            format!("Or wait: crmsync tries again by itself. At once: `crmsync test {name}`"),
        ],
        Problem::OrgSuspended { .. } => vec![
            format!("The owner of the organization: settle it with {label}."),
            format!("Then on {host}: `crmsync test {name}`"),
        ],
        Problem::ProviderFailing { .. } => vec![
            format!("Look at the status page of {label}, and at the network of {host}."),
            by_itself,
        ],
        Problem::ReplicaUnavailable { .. } => {
            vec![format!("Look at the database, its mount and its modes on {host}."), by_itself]
        }
        Problem::DiskFull { .. } => vec![format!("Free space on {host}."), by_itself],
        Problem::KeyMissing => vec![
            format!(
                "On {host}, as root, see where the key is looked for: `crmsync key status` Put it \
                 back there and restart crmsyncd."
            ),
            "If it is lost for good, start over with a new key: `crmsync key init --lost` Then \
             each connection gets new access by `crmsync reauthorize NAME`"
                .to_owned(),
        ],
        Problem::NeedsAttention { .. } => vec![
            format!("Look at it on {host}: `crmsync log {name}`"),
            "If the answer tells you nothing, report it to the makers of crmsync.".to_owned(),
        ],
    }
}
