//! One function per request: arguments out of the path, the query and the body, one call of
//! [`Commands`], its answer as JSON. The attributes are the source of the `OpenAPI` document.
//!
//! Invariant: everything is checked before the daemon is called; what is refused here had no effect.

use super::query::{
    ConfigQuery, FieldsQuery, LimitQuery, NameQuery, NoticesQuery, StatusQuery, ToQuery,
};
use super::refuse::{Answer, Ask, connection, plain, versioned};
use crate::control::envelope::{
    Audit, ConfigText, Connections, Done, Fields, Mails, Notices, Quotas, Runs, Versioned,
};
use crate::control::protocol::{
    Commands, ConnectionDetail, ConnectionStatus, ForgetRequest, GrantReply, KeyStatus, MailLine,
    PauseRequest, ReauthorizeReply, ReauthorizeRequest, Refusal, ReloadReply, RenameRequest,
    RequestLine, RunLine, SecretBody, StatusReply, SyncRequest, TestReply,
};
use axum::extract::State;
use std::sync::Arc;

/// The daemon, as the handlers see it.
pub type Daemon = State<Arc<dyn Commands>>;

const DONE: Done = Done { done: true };

/// The table: the daemon itself and its connections.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "look",
    params(StatusQuery),
    responses((status = 200, description = "Done", body = StatusReply), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn status(State(c): Daemon, ask: Ask) -> Answer {
    let q: StatusQuery = ask.query()?;
    let name = q.name.as_deref().map(connection).transpose()?;
    plain(&c.status(name, q.all).await?)
}

/// Connections, retired ones included.
#[utoipa::path(
    get,
    path = "/v1/connections",
    tag = "look",
    responses((status = 200, description = "Done", body = Versioned<Connections>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn connections(State(c): Daemon, ask: Ask) -> Answer {
    ask.no_body()?;
    let reply = c.status(None, true).await?;
    versioned(Connections { connections: reply.connections })
}

/// Everything about one connection.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}",
    tag = "look",
    params(("name" = String, Path, description = "Name of the connection")),
    responses((status = 200, description = "Done", body = ConnectionDetail), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn detail(State(c): Daemon, ask: Ask) -> Answer {
    plain(&c.detail(ask.name()?).await?)
}

/// Run now; the answer comes when the run has begun.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/sync",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    request_body = SyncRequest,
    responses((status = 200, description = "Done", body = Versioned<RunLine>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn sync(State(c): Daemon, ask: Ask) -> Answer {
    let (name, request): (_, SyncRequest) = (ask.name()?, ask.body()?);
    versioned(c.sync(ask.caller, name, request).await?)
}

/// Stop scheduled work, for a time or until resumed.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/pause",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    request_body = PauseRequest,
    responses((status = 200, description = "Done", body = Versioned<ConnectionStatus>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn pause(State(c): Daemon, ask: Ask) -> Answer {
    let (name, request): (_, PauseRequest) = (ask.name()?, ask.body()?);
    versioned(c.pause(ask.caller, name, request).await?)
}

/// End a pause.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/resume",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    responses((status = 200, description = "Done", body = Versioned<ConnectionStatus>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn resume(State(c): Daemon, ask: Ask) -> Answer {
    let name = ask.name()?;
    ask.no_body()?;
    versioned(c.resume(ask.caller, name).await?)
}

/// A named list of checks against the provider.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/test",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    responses((status = 200, description = "Done", body = TestReply), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn test(State(c): Daemon, ask: Ask) -> Answer {
    let name = ask.name()?;
    ask.no_body()?;
    plain(&c.test(ask.caller, name).await?)
}

/// Begin a reauthorization; tells what has to be handed in.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/reauthorize",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    request_body = ReauthorizeRequest,
    responses((status = 200, description = "Done", body = Versioned<ReauthorizeReply>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn reauthorize(State(c): Daemon, ask: Ask) -> Answer {
    let (name, request): (_, ReauthorizeRequest) = (ask.name()?, ask.body()?);
    versioned(c.reauthorize(ask.caller, name, request).await?)
}

/// Revoke the grant at the provider and forget it.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/disconnect",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    responses((status = 200, description = "Done", body = Versioned<ConnectionStatus>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn disconnect(State(c): Daemon, ask: Ask) -> Answer {
    let name = ask.name()?;
    ask.no_body()?;
    versioned(c.disconnect(ask.caller, name).await?)
}

/// Release deletes that are held.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/approve",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    responses((status = 200, description = "Done", body = Versioned<ConnectionStatus>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn approve(State(c): Daemon, ask: Ask) -> Answer {
    let name = ask.name()?;
    ask.no_body()?;
    versioned(c.approve(ask.caller, name).await?)
}

/// Remove what is kept of a connection.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/forget",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    request_body = ForgetRequest,
    responses((status = 200, description = "Done", body = Versioned<Done>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn forget(State(c): Daemon, ask: Ask) -> Answer {
    let (name, request): (_, ForgetRequest) = (ask.name()?, ask.body()?);
    c.forget(ask.caller, name, request).await?;
    versioned(DONE)
}

/// Keep grant, cursor and replica under a new name.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/rename",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection")),
    request_body = RenameRequest,
    responses((status = 200, description = "Done", body = Versioned<Done>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn rename(State(c): Daemon, ask: Ask) -> Answer {
    let (name, request): (_, RenameRequest) = (ask.name()?, ask.body()?);
    connection(&request.to)?;
    c.rename(ask.caller, name, request).await?;
    versioned(DONE)
}

/// Put a secret into the vault.
#[utoipa::path(
    put,
    path = "/v1/connections/{name}/secrets/{key}",
    tag = "change",
    params(("name" = String, Path, description = "Name of the connection"), ("key" = String, Path, description = "Name of the secret")),
    request_body = SecretBody,
    responses((status = 200, description = "Done", body = Versioned<Done>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn set_secret(State(c): Daemon, ask: Ask) -> Answer {
    let (name, key, value) = (ask.name()?, ask.key()?, ask.secret()?);
    c.set_secret(ask.caller, name, key, value).await?;
    versioned(DONE)
}

/// Objects and fields of the source.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/fields",
    tag = "look",
    params(("name" = String, Path, description = "Name of the connection"), FieldsQuery),
    responses((status = 200, description = "Done", body = Versioned<Fields>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn fields(State(c): Daemon, ask: Ask) -> Answer {
    let q: FieldsQuery = ask.query()?;
    versioned(Fields { objects: c.fields(ask.name()?, q.search).await? })
}

/// Runs of a connection, newest first.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/runs",
    tag = "look",
    params(("name" = String, Path, description = "Name of the connection"), LimitQuery),
    responses((status = 200, description = "Done", body = Versioned<Runs>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn runs(State(c): Daemon, ask: Ask) -> Answer {
    let q: LimitQuery = ask.query()?;
    versioned(Runs { runs: c.runs(Some(ask.name()?), q.limit()).await? })
}

/// A run with its story.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    tag = "look",
    params(("id" = String, Path, description = "Id")),
    responses((status = 200, description = "Done", body = Versioned<RunLine>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn run(State(c): Daemon, ask: Ask) -> Answer {
    versioned(c.run(ask.id()?).await?)
}

/// Hand in the address that the browser was sent to.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}/callback",
    tag = "change",
    params(("id" = String, Path, description = "Id")),
    request_body = SecretBody,
    responses((status = 200, description = "Done", body = Versioned<GrantReply>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn callback(State(c): Daemon, ask: Ask) -> Answer {
    let (id, value) = (ask.id()?, ask.secret()?);
    versioned(c.callback(ask.caller, id, value).await?)
}

/// Hand in a password.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}/password",
    tag = "change",
    params(("id" = String, Path, description = "Id")),
    request_body = SecretBody,
    responses((status = 200, description = "Done", body = Versioned<GrantReply>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn password(State(c): Daemon, ask: Ask) -> Answer {
    let (id, value) = (ask.id()?, ask.secret()?);
    versioned(c.password(ask.caller, id, value).await?)
}

/// Take another account of the same org.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}/confirm",
    tag = "change",
    params(("id" = String, Path, description = "Id")),
    responses((status = 200, description = "Done", body = Versioned<GrantReply>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn confirm(State(c): Daemon, ask: Ask) -> Answer {
    let id = ask.id()?;
    ask.no_body()?;
    versioned(c.confirm(ask.caller, id).await?)
}

/// Refuse another account; the request stays open.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}/reject",
    tag = "change",
    params(("id" = String, Path, description = "Id")),
    responses((status = 200, description = "Done", body = Versioned<RequestLine>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn reject(State(c): Daemon, ask: Ask) -> Answer {
    let id = ask.id()?;
    ask.no_body()?;
    versioned(c.reject(ask.caller, id).await?)
}

/// What an admin should know.
#[utoipa::path(
    get,
    path = "/v1/notices",
    tag = "look",
    params(NoticesQuery),
    responses((status = 200, description = "Done", body = Versioned<Notices>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn notices(State(c): Daemon, ask: Ask) -> Answer {
    let q: NoticesQuery = ask.query()?;
    let name = q.name.as_deref().map(connection).transpose()?;
    versioned(Notices { notices: c.notices(name, q.all).await? })
}

/// Mails of the outbox, newest first.
#[utoipa::path(
    get,
    path = "/v1/mails",
    tag = "look",
    params(LimitQuery),
    responses((status = 200, description = "Done", body = Versioned<Mails>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn mails(State(c): Daemon, ask: Ask) -> Answer {
    let q: LimitQuery = ask.query()?;
    versioned(Mails { mails: c.mails(q.limit()).await? })
}

/// Who changed what, newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "look",
    params(LimitQuery),
    responses((status = 200, description = "Done", body = Versioned<Audit>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn audit(State(c): Daemon, ask: Ask) -> Answer {
    let q: LimitQuery = ask.query()?;
    versioned(Audit { audit: c.audit(q.limit()).await? })
}

/// Use of the providers' limits, by domain.
#[utoipa::path(
    get,
    path = "/v1/quota",
    tag = "look",
    params(NameQuery),
    responses((status = 200, description = "Done", body = Versioned<Quotas>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn quota(State(c): Daemon, ask: Ask) -> Answer {
    let q: NameQuery = ask.query()?;
    let name = q.name.as_deref().map(connection).transpose()?;
    versioned(Quotas { domains: c.quota(name).await? })
}

/// The configuration in force.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "look",
    params(ConfigQuery),
    responses((status = 200, description = "Done", body = Versioned<ConfigText>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn config(State(c): Daemon, ask: Ask) -> Answer {
    let q: ConfigQuery = ask.query()?;
    versioned(ConfigText { text: c.config(q.origin).await? })
}

/// Read, check and apply the configuration; a bad one changes nothing.
#[utoipa::path(
    post,
    path = "/v1/reload",
    tag = "change",
    responses((status = 200, description = "Done", body = Versioned<ReloadReply>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn reload(State(c): Daemon, ask: Ask) -> Answer {
    ask.no_body()?;
    versioned(c.reload(ask.caller).await?)
}

/// Send a test mail.
#[utoipa::path(
    post,
    path = "/v1/notify/test",
    tag = "change",
    params(ToQuery),
    responses((status = 200, description = "Done", body = Versioned<MailLine>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn notify_test(State(c): Daemon, ask: Ask) -> Answer {
    let q: ToQuery = ask.query()?;
    ask.no_body()?;
    versioned(c.notify_test(ask.caller, q.to).await?)
}

/// Where the master key lies.
#[utoipa::path(
    get,
    path = "/v1/key",
    tag = "look",
    responses((status = 200, description = "Done", body = Versioned<KeyStatus>), (status = "default", description = "Refused: nothing was changed", body = Refusal)),
)]
pub async fn key(State(c): Daemon, ask: Ask) -> Answer {
    ask.no_body()?;
    versioned(c.key_status().await?)
}
