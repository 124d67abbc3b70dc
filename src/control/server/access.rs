//! Who may do what: the caller's uid, told by the kernel, and the group database.
//!
//! Hides `getgrouplist`, which may ask a directory server: it runs off the event loop and its
//! answer is kept for a minute. Invariant: whatever fails while looking up ends in fewer rights.

use crate::control::protocol::{Caller, Rights};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer of the group database is believed.
const KEPT: Duration = Duration::from_mins(1);
/// Most answers kept.
const MOST: usize = 1024;

/// The policy of one socket.
#[derive(Debug)]
pub struct Access {
    own_uid: u32,
    view_group: String,
    admin_group: String,
    /// Uid 0 may do everything; only tests, which run as root, take that away.
    root: bool,
    known: Mutex<HashMap<u32, (Instant, Caller)>>,
}

impl Access {
    /// `own_uid`: the daemon's, which may do everything like root; members of the groups may look
    /// or change. A group that does not exist has no members.
    pub fn new(own_uid: u32, view_group: &str, admin_group: &str) -> Self {
        Self {
            own_uid,
            view_group: view_group.to_owned(),
            admin_group: admin_group.to_owned(),
            root: true,
            known: Mutex::default(),
        }
    }

    /// The same without root's right.
    #[cfg(test)]
    #[must_use]
    pub fn without_root(mut self) -> Self {
        self.root = false;
        self
    }

    /// Whether this uid may do everything, whatever the groups say.
    pub fn is_master(&self, uid: u32) -> bool {
        uid == self.own_uid || (uid == 0 && self.root)
    }

    /// The caller of this uid with rights and log-in name.
    pub async fn caller(&self, uid: u32) -> Caller {
        let now = Instant::now();
        let fresh = |(at, _): &(Instant, Caller)| now.duration_since(*at) < KEPT;
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, caller)) = known.get(&uid).filter(|entry| fresh(entry)) {
                return caller.clone();
            }
        }
        let (view, admin) = (self.view_group.clone(), self.admin_group.clone());
        let asked = tokio::task::spawn_blocking(move || look_up(uid, &view, &admin)).await;
        let mut caller = asked.unwrap_or_else(|_| nobody(uid));
        if self.is_master(uid) {
            caller.rights = Rights::Admin;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, entry| fresh(entry));
        if known.len() < MOST {
            known.insert(uid, (now, caller.clone()));
        }
        caller
    }
}

fn nobody(uid: u32) -> Caller {
    Caller { uid, user: uid.to_string(), rights: Rights::None }
}

fn look_up(uid: u32, view: &str, admin: &str) -> Caller {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return nobody(uid) };
    let groups = CString::new(user.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, user.gid).ok())
        .unwrap_or_default();
    let member = |group: &str| {
        let gid: Option<Gid> = Group::from_name(group).ok().flatten().map(|g| g.gid);
        gid.is_some_and(|gid| groups.contains(&gid))
    };
    let rights = if member(admin) {
        Rights::Admin
    } else if member(view) {
        Rights::View
    } else {
        Rights::None
    };
    Caller { uid, user: user.name, rights }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_and_the_own_uid_may_everything() {
        let access = Access::new(4_000_000, "no-such-group", "no-such-group");
        assert_eq!(access.caller(0).await.rights, Rights::Admin);
        assert_eq!(access.caller(0).await.user, "root");
        assert_eq!(access.caller(4_000_000).await.rights, Rights::Admin);
        assert_eq!(access.caller(4_000_001).await.rights, Rights::None);
        assert_eq!(access.caller(4_000_001).await.user, "4000001");
    }

    #[tokio::test]
    async fn groups_decide_for_everybody_else() {
        // Root's own group is `root` on every Debian: the real database is asked.
        let policy = |view: &str, admin: &str| Access::new(1, view, admin).without_root();
        assert_eq!(policy("root", "none").caller(0).await.rights, Rights::View);
        assert_eq!(policy("root", "root").caller(0).await.rights, Rights::Admin);
        assert_eq!(policy("daemon", "none").caller(0).await.rights, Rights::None);
    }
}
