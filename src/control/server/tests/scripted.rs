//! A daemon that notes what it is asked and answers with samples, or with the refusal it was told.

use crate::control::protocol::*;
use crate::control::samples::*;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Mutex;
use tokio::sync::broadcast;

pub struct Scripted {
    calls: Mutex<Vec<String>>,
    pub refuse: Mutex<Option<Refusal>>,
    pub events: broadcast::Sender<Event>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self { calls: Mutex::default(), refuse: Mutex::default(), events: broadcast::channel(16).0 }
    }
}

impl Scripted {
    /// What was asked since the last look.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn note<T: Send + 'static>(&self, call: String, value: T) -> Reply<'_, T> {
        self.calls.lock().unwrap().push(call);
        let refused = self.refuse.lock().unwrap().clone();
        Box::pin(async move { refused.map_or(Ok(value), Err) })
    }
}

impl Commands for Scripted {
    fn status(&self, name: Option<String>, all: bool) -> Reply<'_, StatusReply> {
        self.note(format!("status {name:?} {all:?}"), status_reply())
    }
    fn detail(&self, name: String) -> Reply<'_, ConnectionDetail> {
        self.note(format!("detail {name:?}"), detail_line())
    }
    fn sync(&self, by: Caller, name: String, request: SyncRequest) -> Reply<'_, RunLine> {
        self.note(format!("sync {} {name:?} {request:?}", by.user), run_line())
    }
    fn pause(
        &self,
        by: Caller,
        name: String,
        request: PauseRequest,
    ) -> Reply<'_, ConnectionStatus> {
        self.note(format!("pause {} {name:?} {request:?}", by.user), status_line())
    }
    fn resume(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus> {
        self.note(format!("resume {} {name:?}", by.user), status_line())
    }
    fn test(&self, by: Caller, name: String) -> Reply<'_, TestReply> {
        self.note(format!("test {} {name:?}", by.user), test_reply())
    }
    fn reauthorize(
        &self,
        by: Caller,
        name: String,
        request: ReauthorizeRequest,
    ) -> Reply<'_, ReauthorizeReply> {
        self.note(format!("reauthorize {} {name:?} {request:?}", by.user), door())
    }
    fn callback(
        &self,
        by: Caller,
        request: String,
        redirected: SecretString,
    ) -> Reply<'_, GrantReply> {
        self.note(
            format!("callback {} {request:?} {}", by.user, redirected.expose_secret()),
            grant(),
        )
    }
    fn password(
        &self,
        by: Caller,
        request: String,
        password: SecretString,
    ) -> Reply<'_, GrantReply> {
        self.note(format!("password {} {request:?} {}", by.user, password.expose_secret()), grant())
    }
    fn confirm(&self, by: Caller, request: String) -> Reply<'_, GrantReply> {
        self.note(format!("confirm {} {request:?}", by.user), grant())
    }
    fn reject(&self, by: Caller, request: String) -> Reply<'_, RequestLine> {
        self.note(format!("reject {} {request:?}", by.user), request_line())
    }
    fn set_secret(
        &self,
        by: Caller,
        name: String,
        key: String,
        value: SecretString,
    ) -> Reply<'_, ()> {
        self.note(format!("set_secret {} {name:?} {key:?} {}", by.user, value.expose_secret()), ())
    }
    fn disconnect(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus> {
        self.note(format!("disconnect {} {name:?}", by.user), status_line())
    }
    fn approve(&self, by: Caller, name: String) -> Reply<'_, ConnectionStatus> {
        self.note(format!("approve {} {name:?}", by.user), status_line())
    }
    fn forget(&self, by: Caller, name: String, request: ForgetRequest) -> Reply<'_, ()> {
        self.note(format!("forget {} {name:?} {request:?}", by.user), ())
    }
    fn rename(&self, by: Caller, name: String, request: RenameRequest) -> Reply<'_, ()> {
        self.note(format!("rename {} {name:?} {request:?}", by.user), ())
    }
    fn fields(&self, name: String, search: Option<String>) -> Reply<'_, Vec<SourceObject>> {
        self.note(format!("fields {name:?} {search:?}"), source_objects())
    }
    fn runs(&self, name: Option<String>, limit: usize) -> Reply<'_, Vec<RunLine>> {
        self.note(format!("runs {name:?} {limit:?}"), vec![run_line()])
    }
    fn run(&self, id: String) -> Reply<'_, RunLine> {
        self.note(format!("run {id:?}"), run_line())
    }
    fn notices(&self, name: Option<String>, all: bool) -> Reply<'_, Vec<NoticeLine>> {
        self.note(format!("notices {name:?} {all:?}"), vec![notice_line()])
    }
    fn mails(&self, limit: usize) -> Reply<'_, Vec<MailLine>> {
        self.note(format!("mails {limit:?}"), vec![mail_line()])
    }
    fn audit(&self, limit: usize) -> Reply<'_, Vec<AuditLine>> {
        self.note(format!("audit {limit:?}"), vec![audit_line()])
    }
    fn quota(&self, name: Option<String>) -> Reply<'_, Vec<QuotaStatus>> {
        self.note(format!("quota {name:?}"), vec![quota_line()])
    }
    fn config(&self, origin: bool) -> Reply<'_, String> {
        self.note(format!("config {origin:?}"), "[daemon]\n".to_owned())
    }
    fn reload(&self, by: Caller) -> Reply<'_, ReloadReply> {
        self.note(format!("reload {}", by.user), reload_reply())
    }
    fn notify_test(&self, by: Caller, to: Option<String>) -> Reply<'_, MailLine> {
        self.note(format!("notify_test {} {to:?}", by.user), mail_line())
    }
    fn key_status(&self) -> Reply<'_, KeyStatus> {
        self.note("key_status".to_owned(), key_line())
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
