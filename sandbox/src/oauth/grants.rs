//! Approvals, codes and access tokens: who let which app in, and until when.
//!
//! Invariants: at most five living grants per user and app (the sixth kills the oldest); a code
//! works once and for fifteen minutes; with rotation, a spent refresh token kills its whole grant;
//! the death of a grant is the death of its access tokens. Everything here is bounded: dead grants
//! are forgotten after ten thousand, codes after a thousand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::Chance;

const PER_USER_AND_APP: usize = 5;
const CODE_LIFE_SECONDS: i64 = 15 * 60;
const CODES: usize = 1_000;
const GRANTS: usize = 10_000;
const TOKENS: usize = 100_000;

/// How long a refresh token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RefreshPolicy {
    UntilRevoked,
    Immediate,
    IdleSeconds(i64),
    FixedSeconds(i64),
}

/// One approval.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) scope: String,
    pub(crate) created: Timestamp,
    pub(crate) used: Timestamp,
    pub(crate) dead: Option<&'static str>,
    #[serde(skip)]
    refresh: Option<String>,
    #[serde(skip)]
    spent: BTreeSet<String>,
    pub(crate) generation: u64,
}

/// What an authorization code stands for.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) redirect: String,
    pub(crate) scope: String,
    pub(crate) challenge: String,
    made: Timestamp,
    spent: bool,
}

/// What an access token stands for.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) user: String,
    pub(crate) grant: String,
    pub(crate) client: String,
    pub(crate) scope: String,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

/// Why a code or refresh token was refused, in the vendor's words.
pub(crate) type Refusal = &'static str;

/// All grants of the org.
#[derive(Debug)]
pub(crate) struct Grants {
    pub(crate) rotate: bool,
    pub(crate) policy: RefreshPolicy,
    pub(crate) token_life: Option<i64>,
    grants: Vec<Grant>,
    codes: VecDeque<(String, Code)>,
    sessions: BTreeMap<String, Session>,
    made: u64,
}

impl Grants {
    pub(crate) fn new(rotate: bool, token_life: Option<i64>) -> Grants {
        Grants {
            rotate,
            policy: RefreshPolicy::UntilRevoked,
            token_life,
            grants: Vec::new(),
            codes: VecDeque::new(),
            sessions: BTreeMap::new(),
            made: 0,
        }
    }

    /// A fresh code; like the vendor's it ends in `==`, which has to be URL-encoded.
    pub(crate) fn issue_code(
        &mut self,
        chance: &Chance,
        now: Timestamp,
        user: &str,
        client: &str,
        redirect: &str,
        scope: &str,
        challenge: &str,
    ) -> String {
        let text = format!("aPrx{}==", chance.text(80));
        if self.codes.len() >= CODES {
            self.codes.pop_front();
        }
        let code = Code {
            user: user.to_owned(),
            client: client.to_owned(),
            redirect: redirect.to_owned(),
            scope: scope.to_owned(),
            challenge: challenge.to_owned(),
            made: now,
            spent: false,
        };
        self.codes.push_back((text.clone(), code));
        text
    }

    /// Uses a code up.
    pub(crate) fn take_code(&mut self, now: Timestamp, text: &str) -> Result<Code, Refusal> {
        let Some((_, code)) = self.codes.iter_mut().find(|(known, _)| known == text) else {
            return Err("invalid authorization code");
        };
        if code.spent || now.as_second() - code.made.as_second() > CODE_LIFE_SECONDS {
            return Err("expired authorization code");
        }
        code.spent = true;
        Ok(code.clone())
    }

    /// A new grant; the refresh token comes with it when the scope asks for one. The sixth of a
    /// user and app kills the oldest.
    pub(crate) fn approve(
        &mut self,
        chance: &Chance,
        now: Timestamp,
        user: &str,
        client: &str,
        scope: &str,
    ) -> (String, Option<String>) {
        self.made += 1;
        let id = format!("grant-{}", self.made);
        let refreshable =
            scope.split(' ').any(|word| word == "refresh_token" || word == "offline_access");
        let refresh = refreshable.then(|| format!("5Aep{}", chance.text(83)));
        if refreshable {
            let living: Vec<String> = self
                .grants
                .iter()
                .filter(|grant| {
                    grant.dead.is_none()
                        && grant.refresh.is_some()
                        && grant.user == user
                        && grant.client == client
                })
                .map(|grant| grant.id.clone())
                .collect();
            if living.len() >= PER_USER_AND_APP {
                for oldest in &living[..=living.len() - PER_USER_AND_APP] {
                    self.kill(oldest, "a sixth approval");
                }
            }
        }
        if self.grants.len() >= GRANTS {
            let dead_first = self
                .grants
                .iter()
                .position(|grant| grant.dead.is_some() || grant.refresh.is_none())
                .unwrap_or(0);
            self.grants.remove(dead_first);
        }
        self.grants.push(Grant {
            id: id.clone(),
            user: user.to_owned(),
            client: client.to_owned(),
            scope: scope.to_owned(),
            created: now,
            used: now,
            dead: None,
            refresh: refresh.clone(),
            spent: BTreeSet::new(),
            generation: 1,
        });
        (id, refresh)
    }

    /// Uses a refresh token: the grant, and the new refresh token when the app rotates.
    pub(crate) fn refresh(
        &mut self,
        chance: &Chance,
        now: Timestamp,
        client: &str,
        token: &str,
    ) -> Result<(Grant, Option<String>), Refusal> {
        const EXPIRED: Refusal = "expired access/refresh token";
        if let Some(reused) = self
            .grants
            .iter()
            .find(|grant| grant.spent.contains(token))
            .map(|grant| grant.id.clone())
        {
            self.kill(&reused, "a rotated token was used again");
            return Err(EXPIRED);
        }
        let (rotate, policy) = (self.rotate, self.policy);
        let grant = self
            .grants
            .iter_mut()
            .find(|grant| grant.refresh.as_deref() == Some(token) && grant.client == client)
            .ok_or(EXPIRED)?;
        if grant.dead.is_some() {
            return Err(EXPIRED);
        }
        let idle = now.as_second() - grant.used.as_second();
        let age = now.as_second() - grant.created.as_second();
        let expired = match policy {
            RefreshPolicy::UntilRevoked => false,
            RefreshPolicy::Immediate => true,
            RefreshPolicy::IdleSeconds(limit) => idle > limit,
            RefreshPolicy::FixedSeconds(limit) => age > limit,
        };
        if expired {
            grant.dead = Some("its refresh token expired by policy");
            return Err(EXPIRED);
        }
        grant.used = now;
        let next = rotate.then(|| {
            let next = format!("5Aep{}", chance.text(83));
            if let Some(old) = grant.refresh.replace(next.clone()) {
                grant.spent.insert(old);
            }
            grant.generation += 1;
            next
        });
        Ok((grant.clone(), next))
    }

    /// Whose living refresh token this is.
    pub(crate) fn owner(&self, token: &str) -> Option<String> {
        self.grants
            .iter()
            .find(|grant| grant.dead.is_none() && grant.refresh.as_deref() == Some(token))
            .map(|grant| grant.user.clone())
    }

    /// A fresh access token of a grant.
    pub(crate) fn open_session(
        &mut self,
        chance: &Chance,
        now: Timestamp,
        org15: &str,
        grant: &str,
        (user, client, scope): (&str, &str, &str),
    ) -> String {
        let text = format!("{org15}!AQ{}", chance.text(86));
        if self.sessions.len() >= TOKENS {
            self.sessions.pop_first();
        }
        self.sessions.insert(
            text.clone(),
            Session {
                user: user.to_owned(),
                grant: grant.to_owned(),
                client: client.to_owned(),
                scope: scope.to_owned(),
                issued: now,
                expires: self
                    .token_life
                    .and_then(|life| now.checked_add(jiff::SignedDuration::from_secs(life)).ok()),
            },
        );
        text
    }

    /// The living session behind an access token.
    pub(crate) fn session(&self, now: Timestamp, token: &str) -> Option<&Session> {
        self.sessions.get(token).filter(|session| session.expires.is_none_or(|end| now < end))
    }

    /// Revokes by access or refresh token; false when nobody knows it.
    pub(crate) fn revoke_token(&mut self, token: &str) -> bool {
        if self.sessions.remove(token).is_some() {
            return true;
        }
        let found = self
            .grants
            .iter()
            .find(|grant| grant.dead.is_none() && grant.refresh.as_deref() == Some(token))
            .map(|grant| grant.id.clone());
        match found {
            Some(id) => {
                self.kill(&id, "revoked by its holder");
                true
            }
            None => false,
        }
    }

    /// Kills the grants of a user, or all; returns how many lived.
    pub(crate) fn revoke_all(&mut self, user: Option<&str>, why: &'static str) -> usize {
        let living: Vec<String> = self
            .grants
            .iter()
            .filter(|grant| grant.dead.is_none() && user.is_none_or(|name| grant.user == name))
            .map(|grant| grant.id.clone())
            .collect();
        for id in &living {
            self.kill(id, why);
        }
        living.len()
    }

    /// Ends access tokens and leaves the grants; returns how many there were.
    pub(crate) fn expire_sessions(&mut self, user: Option<&str>) -> usize {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| user.is_some_and(|name| session.user != name));
        before - self.sessions.len()
    }

    /// Whether this user has let this app in before.
    pub(crate) fn has_approved(&self, user: &str, client: &str) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.dead.is_none() && grant.user == user && grant.client == client)
    }

    pub(crate) fn all(&self) -> &[Grant] {
        &self.grants
    }

    fn kill(&mut self, id: &str, why: &'static str) {
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == id) {
            grant.dead = Some(why);
        }
        self.sessions.retain(|_, session| session.grant != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "api refresh_token id";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn fresh(rotate: bool) -> (Grants, Chance) {
        (Grants::new(rotate, None), Chance::new(at(0)))
    }

    #[test]
    fn the_sixth_approval_kills_the_first_and_its_access_token() {
        let (mut grants, chance) = fresh(false);
        let (first, token) = grants.approve(&chance, at(0), "ada", "app", SCOPE);
        let access = grants.open_session(&chance, at(0), "00D", &first, ("ada", "app", SCOPE));
        for n in 1..5 {
            grants.approve(&chance, at(n), "ada", "app", SCOPE);
        }
        grants.approve(&chance, at(5), "bob", "app", SCOPE);
        let token = token.unwrap();
        assert!(grants.refresh(&chance, at(6), "app", &token).is_ok());
        grants.approve(&chance, at(7), "ada", "app", SCOPE);
        assert!(grants.refresh(&chance, at(8), "app", &token).is_err());
        assert!(grants.session(at(8), &access).is_none());
        let living = grants.all().iter().filter(|grant| grant.dead.is_none());
        assert_eq!(living.count(), 6);
    }

    #[test]
    fn a_spent_token_kills_the_family() {
        let (mut grants, chance) = fresh(true);
        let (_, first) = grants.approve(&chance, at(0), "ada", "app", SCOPE);
        let first = first.unwrap();
        let (_, second) = grants.refresh(&chance, at(1), "app", &first).unwrap();
        let second = second.unwrap();
        assert!(grants.refresh(&chance, at(2), "app", &first).is_err());
        assert!(grants.refresh(&chance, at(3), "app", &second).is_err());
    }

    #[test]
    fn idle_life_slides_and_fixed_life_does_not() {
        let (mut grants, chance) = fresh(false);
        grants.policy = RefreshPolicy::IdleSeconds(100);
        let (_, token) = grants.approve(&chance, at(0), "ada", "app", SCOPE);
        let token = token.unwrap();
        assert!(grants.refresh(&chance, at(90), "app", &token).is_ok());
        assert!(grants.refresh(&chance, at(180), "app", &token).is_ok());
        assert!(grants.refresh(&chance, at(281), "app", &token).is_err());
        let (_, token) = grants.approve(&chance, at(0), "ada", "app", SCOPE);
        grants.policy = RefreshPolicy::FixedSeconds(100);
        let token = token.unwrap();
        assert!(grants.refresh(&chance, at(90), "app", &token).is_ok());
        assert!(grants.refresh(&chance, at(101), "app", &token).is_err());
    }

    #[test]
    fn a_code_works_once_and_not_for_long() {
        let (mut grants, chance) = fresh(false);
        let code = grants.issue_code(&chance, at(0), "ada", "app", "http://x", SCOPE, "c");
        assert!(code.ends_with("=="));
        assert!(grants.take_code(at(1), &code).is_ok());
        assert_eq!(grants.take_code(at(2), &code).unwrap_err(), "expired authorization code");
        let late = grants.issue_code(&chance, at(0), "ada", "app", "http://x", SCOPE, "c");
        assert!(grants.take_code(at(901), &late).is_err());
        assert_eq!(grants.take_code(at(1), "x").unwrap_err(), "invalid authorization code");
    }

    #[test]
    fn no_refresh_scope_no_refresh_token() {
        let (mut grants, chance) = fresh(false);
        assert!(grants.approve(&chance, at(0), "a", "app", "api id").1.is_none());
    }
}
