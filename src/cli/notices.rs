//! `notices`, `mail log`, `notify test`, `audit`.

use super::Ctx;
use super::error::{CliError, DONE};
use super::output::{View, table};
use crate::control::client::Url;
use crate::control::envelope::{Audit, Mails, Notices};
use crate::control::protocol::{AuditLine, MailLine, NoticeLine};

pub(super) async fn list(ctx: &Ctx, name: Option<String>, all: bool) -> Result<u8, CliError> {
    let url = Url::new(&["v1", "notices"]).with("name", name).flag("all", all);
    let answer = ctx.client.get::<Notices>(&url).await?;
    ctx.show(&answer, |n, view| {
        if n.notices.is_empty() {
            return "no notices are open\n".to_owned();
        }
        render(&n.notices, view)
    })?;
    Ok(DONE)
}

pub(super) fn render(notices: &[NoticeLine], view: &View) -> String {
    let header = ["SINCE", "CONNECTION", "KIND", "MAILED", "CLOSED", "NOTICE"];
    let rows = notices.iter().map(|n| {
        vec![
            view.at(n.opened),
            n.connection.clone().unwrap_or_else(|| "(crmsyncd)".to_owned()),
            n.kind.clone(),
            view.maybe(n.mailed),
            view.maybe(n.closed),
            n.text.clone(),
        ]
    });
    table(&header, &[], rows.collect())
}

pub(super) async fn mails(ctx: &Ctx, limit: usize) -> Result<u8, CliError> {
    let url = Url::new(&["v1", "mails"]).with("limit", Some(limit.to_string()));
    let answer = ctx.client.get::<Mails>(&url).await?;
    ctx.show(&answer, |m, view| render_mails(&m.mails, view))?;
    Ok(DONE)
}

pub(super) fn render_mails(mails: &[MailLine], view: &View) -> String {
    if mails.is_empty() {
        return "no mails have been written\n".to_owned();
    }
    let header = ["WRITTEN", "STATE", "TO", "SUBJECT", "MESSAGE-ID"];
    let rows = mails.iter().map(|m| {
        vec![
            view.at(m.created),
            m.state.clone(),
            m.to.join(", "),
            m.subject.clone(),
            m.message_id.clone(),
        ]
    });
    table(&header, &[], rows.collect())
}

pub(super) async fn try_out(ctx: &Ctx, to: Option<String>) -> Result<u8, CliError> {
    let url = Url::new(&["v1", "notify", "test"]).with("to", to);
    let answer = ctx.client.post::<MailLine>(&url, &serde_json::json!({})).await?;
    ctx.show(&answer, |m, _| {
        let to = m.to.join(", ");
        format!(
            "test mail to {to}: {}\n  {} ({})\n  next: crmsync mail log\n",
            m.state, m.subject, m.message_id
        )
    })?;
    Ok(DONE)
}

pub(super) async fn audit(ctx: &Ctx, limit: usize) -> Result<u8, CliError> {
    let url = Url::new(&["v1", "audit"]).with("limit", Some(limit.to_string()));
    let answer = ctx.client.get::<Audit>(&url).await?;
    ctx.show(&answer, |a, view| render_audit(&a.audit, view))?;
    Ok(DONE)
}

pub(super) fn render_audit(audit: &[AuditLine], view: &View) -> String {
    if audit.is_empty() {
        return "nothing has been changed yet\n".to_owned();
    }
    let header = ["WHEN", "WHO", "CONNECTION", "WHAT"];
    let rows = audit.iter().map(|a| {
        let who = a.uid.map_or(a.user.clone(), |uid| format!("{} ({uid})", a.user));
        let connection = a.connection.clone().unwrap_or_else(|| "-".to_owned());
        vec![view.at(a.at), who, connection, a.what.clone()]
    });
    table(&header, &[], rows.collect())
}
